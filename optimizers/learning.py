"""What past actions teach about the next: chance of success and size of the gain. Pure.

A `Learned` row holds evidence alone: verified successes and failures, the number (`weight`), mean
and sum of squared deviations (`sum_sq`) of measured gains. The prior comes from the capability and
is added here, so a changed prior needs no change of the records.

- Success: Beta(prior.weight × prior.success + successes, prior.weight × (1 − prior.success) +
  failures).
- Gain: normal with unknown mean and spread (conjugate normal-inverse-gamma; Gelman et al., Bayesian
  Data Analysis, 3rd ed., section 3.3), its prior mean the proposal's own estimate. The interval is
  Student's t.
- Experience on other targets counts too, but never for more than `POOLED_WEIGHT` actions.

What is learned stays within bounds that it cannot move: success within 1 to 99 %, the gain at most
twice what was proposed. Risk and thresholds are not learned at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from optimizers.beta import beta_quantile, t_quantile
from optimizers.capability import Prior
from registry.agent_records import Action, Estimate, Learned, Proposal, Verdict

POOLED_WEIGHT = 4.0
_SUCCESS_LOW, _SUCCESS_HIGH = 0.01, 0.99
_GAIN_FACTOR = 2.0
_TAIL = 0.025
# The spread believed before anything is seen, where a proposal gives no interval of its own.
_PRIOR_SPREAD = 0.5
_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Belief:
    """What is expected of a proposal, with central 95 % intervals.

    Attributes:
        success: probability that it will be verified as an improvement.
        improvement: relative gain if it succeeds.
        evidence: verified actions of this type and target that it rests on.
    """

    success: float
    success_low: float
    success_high: float
    improvement: Estimate
    evidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one finished action teaches; `gain` None where none was measured."""

    success: bool
    gain: float | None = None


def lesson_of(action: Action) -> Lesson | None:
    """Return what a finished action teaches; None where its outcome was never verified.

    An inconclusive outcome is a failure: the change was undone without having shown a gain.
    """
    effect = action.effect
    if effect is None or effect.verdict is Verdict.NO_DATA:
        return None
    success = effect.verdict is Verdict.IMPROVED and not effect.worsened
    return Lesson(success, effect.gain)


def learned_from(known: Learned, lesson: Lesson, at: float) -> Learned:
    """Return the evidence with one more lesson, by Welford's update."""
    mean, weight, sum_sq = known.mean, known.weight, known.sum_sq
    if lesson.gain is not None and math.isfinite(lesson.gain):
        weight += 1.0
        step = lesson.gain - mean
        mean += step / weight
        sum_sq += step * (lesson.gain - mean)
    return replace(
        known,
        successes=known.successes + (1.0 if lesson.success else 0.0),
        failures=known.failures + (0.0 if lesson.success else 1.0),
        mean=mean,
        weight=weight,
        sum_sq=sum_sq,
        updated_at=at,
    )


def believe(proposal: Proposal, prior: Prior, learned: Mapping[tuple[str, str], Learned]) -> Belief:
    """Return what is expected of a proposal, from its prior and the evidence so far."""
    own = learned.get((proposal.type, proposal.target))
    pooled = _discounted(_without(learned.get((proposal.type, "")), own))
    good = prior.weight * prior.success + _successes(own) + _successes(pooled)
    bad = prior.weight * (1.0 - prior.success) + _failures(own) + _failures(pooled)
    success, low, high = _success(good, bad)
    return Belief(
        success=success,
        success_low=low,
        success_high=high,
        improvement=_improvement(proposal.expected, prior.weight, (own, pooled)),
        evidence=_successes(own) + _failures(own),
    )


def _success(good: float, bad: float) -> tuple[float, float, float]:
    """Mean and central 95 % interval of Beta(good, bad), within the bounds."""
    if good <= 0.0 or bad <= 0.0:  # a prior that is certain, and nothing against it
        sure = _SUCCESS_HIGH if good > 0.0 else _SUCCESS_LOW
        return sure, sure, sure
    values = (
        good / (good + bad),
        beta_quantile(_TAIL, good, bad),
        beta_quantile(1.0 - _TAIL, good, bad),
    )
    mean, low, high = (min(max(value, _SUCCESS_LOW), _SUCCESS_HIGH) for value in values)
    return mean, low, high


def _improvement(
    expected: Estimate, weight: float, evidence: tuple[Learned | None, ...]
) -> Estimate:
    """The gain's posterior mean and central 95 % interval."""
    seen = [one for one in evidence if one is not None and one.weight > 0.0]
    if not seen:
        return expected
    spread = _prior_spread(expected, weight)
    mean, count, squares = expected.mean, max(weight, 1e-9), spread * spread * weight
    for one in seen:
        total = count + one.weight
        squares += one.sum_sq + count * one.weight / total * (one.mean - mean) ** 2
        mean += one.weight / total * (one.mean - mean)
        count = total
    reach = t_quantile(1.0 - _TAIL, count) * math.sqrt(squares / count / count)
    bound = _GAIN_FACTOR * abs(expected.mean)
    values = (min(max(value, -1.0), bound) for value in (mean, mean - reach, mean + reach))
    return Estimate(*values)


def _prior_spread(expected: Estimate, weight: float) -> float:
    """Standard deviation of single gains that goes with the proposal's own interval."""
    width = expected.high - expected.low
    if width > 0.0:
        return width / 2.0 / _NORMAL_95 * math.sqrt(max(weight, 1.0))
    return _PRIOR_SPREAD * abs(expected.mean)


def _successes(one: Learned | None) -> float:
    return one.successes if one is not None else 0.0


def _failures(one: Learned | None) -> float:
    return one.failures if one is not None else 0.0


def _without(total: Learned | None, own: Learned | None) -> Learned | None:
    """The evidence of all targets less that of one of them."""
    if total is None or own is None:
        return total
    weight = total.weight - own.weight
    mean, sum_sq = 0.0, 0.0
    if weight > 0.0:
        mean = (total.weight * total.mean - own.weight * own.mean) / weight
        between = weight * own.weight / total.weight * (mean - own.mean) ** 2
        sum_sq = max(total.sum_sq - own.sum_sq - between, 0.0)
    return replace(
        total,
        successes=max(total.successes - own.successes, 0.0),
        failures=max(total.failures - own.failures, 0.0),
        mean=mean,
        weight=max(weight, 0.0),
        sum_sq=sum_sq,
    )


def _discounted(one: Learned | None) -> Learned | None:
    """The same evidence, counting for at most `POOLED_WEIGHT` actions."""
    if one is None:
        return None
    count = max(one.successes + one.failures, one.weight)
    if count <= POOLED_WEIGHT:
        return one
    share = POOLED_WEIGHT / count
    return replace(
        one,
        successes=one.successes * share,
        failures=one.failures * share,
        weight=one.weight * share,
        sum_sq=one.sum_sq * share,
    )
