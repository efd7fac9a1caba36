"""Whether a proposal is carried out: the specification's formula with exposure. Pure.

    expected_value = expected_improvement × success_probability
    score          = expected_value − 0.5 × risk × exposure
    run            = expected_value ≥ 0.05 and risk ≤ 0.7 and score > 0

Thresholds are settings; the numbers above are their defaults. With exposure 1 (nothing is undone)
this is the specification's formula to the letter; see `optimizers.exposure` and ADR 007.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from config.settings import Settings, ThresholdSettings
from optimizers.exposure import exposure_reason
from optimizers.learning import Belief
from optimizers.safety import approval_reason
from registry.agent_records import Decision, Proposal

RISK_WEIGHT = 0.5


class Course(StrEnum):
    """What follows from a decision."""

    RUN = "run"
    ASK = "ask"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One of the formula's conditions: its name, whether it is met, and a sentence."""

    name: str
    met: bool
    text: str


def decide(proposal: Proposal, belief: Belief, settings: Settings, exposure: float) -> Decision:
    """Return the numbers of the formula and its outcome, with the reasons in sentences.

    The exposure, 0 to 1, is that of `optimizers.exposure.exposure_of`.
    """
    gain = belief.improvement.mean
    value = gain * belief.success
    score = value - RISK_WEIGHT * proposal.risk * exposure
    thresholds = settings.thresholds
    run = (
        value >= thresholds.min_improvement_threshold
        and proposal.risk <= thresholds.max_risk_threshold
        and score > 0.0
    )
    bare = Decision(
        run=run,
        expected_improvement=gain,
        success_probability=belief.success,
        success_low=belief.success_low,
        success_high=belief.success_high,
        exposure=exposure,
        risk=proposal.risk,
        expected_value=value,
        score=score,
        approval=approval_reason(proposal, settings),
    )
    why = exposure_reason(proposal, settings)
    return replace(
        bare,
        reasons=(*(one.text for one in criteria(bare, thresholds)), _exposed(exposure, why)),
        would_change=turning_points(bare, thresholds),
    )


def course_of(decision: Decision, thresholds: ThresholdSettings) -> Course:
    """Return what follows: run it, ask a person first, or leave it.

    A risk above the limit can be accepted by a person, where one is asked about risky actions at
    all; too small a value or a score that is not positive cannot.
    """
    if decision.run:
        return Course.ASK if decision.approval else Course.RUN
    # What is worth it and was not let through has failed by its risk alone.
    worth = decision.expected_value >= thresholds.min_improvement_threshold and decision.score > 0.0
    return Course.ASK if decision.approval and worth else Course.REFUSE


def criteria(decision: Decision, limits: ThresholdSettings) -> tuple[Criterion, ...]:
    """Return the three criteria of the formula, met or not, with their numbers."""
    one, least, most = decision, limits.min_improvement_threshold, limits.max_risk_threshold
    valuable, modest, positive = one.expected_value >= least, one.risk <= most, one.score > 0.0
    product = (
        f"improvement {_share(one.expected_improvement)} × success probability "
        f"{one.success_probability:.3g}"
    )
    difference = (
        f"{one.expected_value:.3g} − {RISK_WEIGHT:g} × risk {one.risk:.3g} × exposure "
        f"{one.exposure:.3g}"
    )
    reaches = "reaches" if valuable else "does not reach"
    return (
        Criterion(
            "expected_value",
            valuable,
            f"expected value {_share(one.expected_value)} ({product}) {reaches} the least of "
            f"{_share(least)}",
        ),
        Criterion(
            "risk",
            modest,
            f"risk {one.risk:.3g} is {'within' if modest else 'above'} the limit of {most:.3g}",
        ),
        Criterion(
            "score",
            positive,
            f"score {one.score:.3g} ({difference}) is {'' if positive else 'not '}above 0",
        ),
    )


def turning_points(decision: Decision, limits: ThresholdSettings) -> tuple[str, ...]:
    """Return what would turn the decision round, each of them alone."""
    if decision.run:
        return _to_stop(decision, limits)
    if decision.risk <= limits.max_risk_threshold:
        return tuple(_to_be_worth(decision, limits, decision.risk))
    modest = f"a risk of {limits.max_risk_threshold:.4g} or less"
    if not _valuable(decision, limits):
        points = _to_be_worth(decision, limits, limits.max_risk_threshold)
        return tuple(f"{modest} and {point}" for point in points)
    least = _turning_risk(decision)
    return (modest if least > limits.max_risk_threshold else f"a risk under {least:.4g}",)


def _to_stop(one: Decision, limits: ThresholdSettings) -> tuple[str, ...]:
    wanted = _wanted(one, limits, one.risk)
    points = [
        f"a success probability under {wanted / one.expected_improvement:.4g}",
        f"an expected improvement under {_share(wanted / one.success_probability)}",
    ]
    most = min(limits.max_risk_threshold, _turning_risk(one))
    if most < 1.0:
        points.append(f"a risk above {most:.4g}")
    if one.risk > 2.0 * one.expected_value:
        points.append(f"an exposure of {2.0 * one.expected_value / one.risk:.4g} or more")
    return tuple(points)


def _to_be_worth(one: Decision, limits: ThresholdSettings, risk: float) -> list[str]:
    """What would make it worth it at a risk within the limit."""
    wanted = _wanted(one, limits, risk)
    points = []
    if wanted < one.expected_improvement:
        points.append(f"a success probability above {wanted / one.expected_improvement:.4g}")
    if one.success_probability > 0.0:
        points.append(f"an expected improvement above {_share(wanted / one.success_probability)}")
    if _valuable(one, limits):
        # The value is enough, so the score has failed: risk and exposure are both above 0.
        points.append(f"a risk under {_turning_risk(one):.4g}")
        points.append(f"an exposure under {2.0 * one.expected_value / one.risk:.4g}")
    return points


def _valuable(one: Decision, limits: ThresholdSettings) -> bool:
    return one.expected_value >= limits.min_improvement_threshold and one.expected_value > 0.0


def _wanted(one: Decision, limits: ThresholdSettings, risk: float) -> float:
    """The expected value that is wanted at a risk."""
    return max(limits.min_improvement_threshold, RISK_WEIGHT * risk * one.exposure)


def _turning_risk(one: Decision) -> float:
    """The risk at which the score is 0."""
    return 2.0 * one.expected_value / one.exposure if one.exposure > 0.0 else math.inf


def _exposed(exposure: float, why: str) -> str:
    return f"exposure {exposure:.3g}: {why or 'it is verified, and undone if it does not help'}"


def _share(value: float) -> str:
    return f"{value * 100.0:.4g} %" if math.isfinite(value) else str(value)
