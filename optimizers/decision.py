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
    return Course.ASK if decision.approval and _worth(decision, thresholds) else Course.REFUSE


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
    """Return what would turn the decision round, each alone unless it says otherwise."""
    penalty = RISK_WEIGHT * decision.risk * decision.exposure
    wanted = max(limits.min_improvement_threshold, penalty)
    risk_limit = _risk_limit(decision, limits)
    if decision.run:
        return _to_stop(decision, wanted, risk_limit)
    return _to_go(decision, limits, wanted)


def _to_stop(one: Decision, wanted: float, risk_limit: float) -> tuple[str, ...]:
    points = [
        f"a success probability under {wanted / one.expected_improvement:.4g}",
        f"an expected improvement under {_share(wanted / one.success_probability)}",
    ]
    if risk_limit < 1.0:
        points.append(f"a risk above {risk_limit:.4g}")
    if one.risk > 0.0 and 2.0 * one.expected_value / one.risk < 1.0:
        points.append(f"an exposure of {2.0 * one.expected_value / one.risk:.4g} or more")
    return tuple(points)


def _to_go(one: Decision, limits: ThresholdSettings, wanted: float) -> tuple[str, ...]:
    points = []
    risky = one.risk > limits.max_risk_threshold
    if risky:
        points.append(f"a risk of {limits.max_risk_threshold:.4g} or less")
    if not _worth(one, limits):
        both = ", besides" if risky else ""
        points += [f"{point}{both}" for point in _to_be_worth(one, limits, wanted)]
    return tuple(points)


def _worth(one: Decision, limits: ThresholdSettings) -> bool:
    return one.expected_value >= limits.min_improvement_threshold and one.score > 0.0


def _to_be_worth(one: Decision, limits: ThresholdSettings, wanted: float) -> list[str]:
    points = []
    if one.expected_improvement > 0.0 and wanted < one.expected_improvement:
        points.append(f"a success probability above {wanted / one.expected_improvement:.4g}")
    if one.success_probability > 0.0:
        points.append(f"an expected improvement above {_share(wanted / one.success_probability)}")
    if one.expected_value < limits.min_improvement_threshold or one.expected_value <= 0.0:
        return points
    if one.exposure > 0.0:
        points.append(f"a risk under {2.0 * one.expected_value / one.exposure:.4g}")
    if one.risk > 0.0:
        points.append(f"an exposure under {2.0 * one.expected_value / one.risk:.4g}")
    return points


def _risk_limit(one: Decision, limits: ThresholdSettings) -> float:
    """The greatest risk at which this decision would still be yes."""
    if one.exposure <= 0.0:
        return limits.max_risk_threshold
    return min(limits.max_risk_threshold, 2.0 * one.expected_value / one.exposure)


def _exposed(exposure: float, why: str) -> str:
    return f"exposure {exposure:.3g}: {why or 'it is verified, and undone if it does not help'}"


def _share(value: float) -> str:
    return f"{value * 100.0:.4g} %" if math.isfinite(value) else str(value)
