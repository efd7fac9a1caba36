"""The judge of a trial: counts in, one look with a verdict and its reason out. Pure.

The only place that turns counts into a verdict, so that the stored counts give it again. Order:
counts that cannot be right decide nothing; then the guardrails (split, errors, latency, missing
values); then the decision metric. A challenger is promoted only when the metric is better by the
sequential test, the estimated improvement reaches the minimum, both arms have enough requests and
values, and no guardrail spoke. Missing data never promotes: the trial goes on, and at its end it
is inconclusive, which keeps the champion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.trial_guardrails import Watch, flaw, watch_guardrails
from benchmarks.trial_metric import FUTILITY, Arms, MetricLook, judge_metric, moments
from registry.records import ArmCounts, ExposureTotals, Look, MetricTotals, TrialVerdict, Variant
from registry.trial_config import ABTestConfig

CONTINUE = "continue"
"""Verdict of a look after which the trial goes on."""

_ARMS = (Variant.CHAMPION, Variant.CHALLENGER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with its reason in one sentence."""

    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class FamilyWiseError:
    """Upper bounds of the chance of a wrong ending when both versions are alike."""

    false_promotion: float
    any_false_ending: float


def family_wise_error(config: ABTestConfig) -> FamilyWiseError:
    """Bounds for one trial: the metric's alpha, and Bonferroni's sum (1936) over all rules.

    Keeping the champion because the challenger is worse or hopeless is not counted as wrong.
    """
    rails = sum(rail.alpha for rail in config.guardrails)
    return FamilyWiseError(config.alpha, min(1.0, config.alpha + rails))


def arm_counts(
    config: ABTestConfig,
    exposures: Mapping[Variant, ExposureTotals],
    feedback: Mapping[Variant, MetricTotals],
) -> dict[Variant, ArmCounts]:
    """What both arms gathered; `latency_ms` and `error_rate` come from the exposures themselves."""
    return {
        arm: _arm(config, exposures.get(arm, ExposureTotals()), feedback.get(arm, MetricTotals()))
        for arm in _ARMS
    }


def judge_trial(
    config: ABTestConfig, arms: Arms, previous: Sequence[Look], *, at: float, elapsed_s: float
) -> Look:
    """One look at a trial.

    Args:
        config: what was asked before the trial began.
        arms: cumulative counts since then; a missing arm counts as silent.
        previous: all looks before this one, in order.
        at: time of the look, seconds since the epoch.
        elapsed_s: seconds the trial has run, by a clock that is not stepped.

    Returns:
        The look. After a verdict other than `continue` the trial is over: that look is returned
        again, so that a restarted caller cannot conclude twice.
    """
    if previous and previous[-1].verdict != CONTINUE:
        return previous[-1]
    arms = {arm: arms.get(arm, ArmCounts()) for arm in _ARMS}
    problem = flaw(arms, previous[-1].arms if previous else None)
    if problem is not None:
        watch = Watch({}, {}, None)
        metric = MetricLook(0.0, final=elapsed_s >= config.duration_seconds)
        outcome = _undecided(metric, problem)
    else:
        watch = watch_guardrails(config, arms)
        metric = judge_metric(config, arms, previous, elapsed_s)
        outcome = _outcome(config, arms, watch, metric)
    futility = {} if metric.futility is None else {FUTILITY: metric.futility}
    return Look(
        number=len(previous) + 1,
        at=at,
        elapsed_s=elapsed_s,
        arms=dict(arms),
        information_fraction=metric.fraction,
        z=metric.z,
        boundary=metric.boundary,
        estimate=metric.estimate,
        interval=metric.interval,
        evidence=watch.evidence,
        thresholds=watch.thresholds | futility,
        verdict=outcome.verdict,
        reason=outcome.reason,
    )


def _arm(config: ABTestConfig, seen: ExposureTotals, values: MetricTotals) -> ArmCounts:
    if config.success_metric == "latency_ms":
        values = MetricTotals(seen.count, seen.latency_sum_ms, seen.latency_sumsq, seen.last_at)
    elif config.success_metric == "error_rate":
        values = MetricTotals(seen.count, float(seen.errors), float(seen.errors), seen.last_at)
    return ArmCounts(seen.count, seen.errors, seen.over_objective, values)


def _outcome(config: ABTestConfig, arms: Arms, watch: Watch, metric: MetricLook) -> Outcome:
    if watch.alarm is not None:
        return Outcome(watch.alarm.verdict, watch.alarm.reason)
    missing = _missing(config, arms)
    if missing is not None:
        return _undecided(metric, missing)
    if metric.z is None or metric.estimate is None:
        return _undecided(metric, f"no improvement relative to {_values(config, arms)} is defined")
    if metric.boundary is None:
        return _undecided(metric, f"{_values(config, arms)}: not tested at this look")
    return _tested(config, arms, metric, metric.boundary)


def _missing(config: ABTestConfig, arms: Arms) -> str | None:
    """What is still needed before anything may be promoted."""
    if not any(counts.exposures for counts in arms.values()):
        return "no requests were counted for either version"
    if not any(counts.metric.count for counts in arms.values()):
        name = config.success_metric
        return f"no values of {name} arrived for either version; is it sent under this name?"
    for arm, counts in arms.items():
        for number, thing in (
            (counts.exposures, "requests"),
            (counts.metric.count, f"values of {config.success_metric}"),
        ):
            if number < config.min_exposures:
                return f"the {arm} has {number} {thing} where {config.min_exposures} are needed"
    return None


def _tested(config: ABTestConfig, arms: Arms, metric: MetricLook, boundary: float) -> Outcome:
    """The verdict at a look at which the metric is tested; z and estimate are then known."""
    z, estimate = metric.z or 0.0, metric.estimate or 0.0
    told = f"{_values(config, arms)}: {_size(estimate, metric)}, z {z:.2f}"
    wanted = f"{config.min_improvement:.1%} is wanted"
    if z >= boundary and estimate >= config.min_improvement:
        return Outcome(TrialVerdict.PROMOTE, f"{told} over the boundary {boundary:.2f}; {wanted}")
    if z <= -boundary:
        return _kept(f"{told} under {-boundary:.2f}, so the challenger is worse")
    if metric.interval is not None and metric.interval[1] < config.min_improvement:
        return _kept(f"{told}; even the upper end is too little, {wanted}")
    if metric.futility is not None and z <= metric.futility:
        return _kept(f"{told} at or under {metric.futility:.2f}, so little hope is left; {wanted}")
    if metric.final and z >= boundary:
        return _kept(f"{told} over the boundary {boundary:.2f}, but {wanted}")
    return _undecided(metric, f"{told} within the boundary {boundary:.2f}; {wanted}")


def _kept(reason: str) -> Outcome:
    return Outcome(TrialVerdict.KEEP_CHAMPION, reason)


def _undecided(metric: MetricLook, reason: str) -> Outcome:
    if metric.final:
        return Outcome(TrialVerdict.INCONCLUSIVE, f"at the end of the trial, {reason}")
    return Outcome(CONTINUE, reason)


def _values(config: ABTestConfig, arms: Arms) -> str:
    champion, challenger = (moments(arms[arm]) for arm in _ARMS)
    return (
        f"{config.success_metric} {challenger.mean:.4g} ({challenger.count} values) against "
        f"the champion's {champion.mean:.4g} ({champion.count})"
    )


def _size(estimate: float, metric: MetricLook) -> str:
    better = f"{abs(estimate):.1%} {'better' if estimate >= 0 else 'worse'}"
    if metric.interval is None:
        return better
    return f"{better} (interval {metric.interval[0]:+.1%} to {metric.interval[1]:+.1%})"
