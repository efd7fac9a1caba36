"""The decision metric of a trial at one look: when it is tested, and what the test says.

The metric is tested when another 1/looks of the planned information has come in, and at the end;
looks in between only watch the guardrails and cost no error. The end is the planned sample or the
duration, whichever comes first, and spends what is left. Nothing here depends on the difference
between the arms except the statistic itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.significance.group_sequential import next_boundary, next_futility, spent_alpha
from benchmarks.significance.moments import Moments
from benchmarks.significance.planning import FUTILITY_SHARE, Aim, sequential_plan
from benchmarks.significance.relative import relative_change, relative_interval
from benchmarks.significance.score import standard_score
from registry.records import ArmCounts, Look, Variant
from registry.trial_config import ABTestConfig, Direction

Arms = Mapping[Variant, ArmCounts]

FUTILITY = "futility"
"""Key of the lower boundary among a look's thresholds."""


@dataclass(frozen=True, slots=True)
class MetricLook:
    """The metric at one look; z, estimate and interval are positive when the challenger is better.

    `boundary` is None when the metric is not tested at this look, `futility` when giving up early
    is not considered.
    """

    fraction: float
    final: bool
    z: float | None = None
    boundary: float | None = None
    futility: float | None = None
    estimate: float | None = None
    interval: tuple[float, float] | None = None


def moments(counts: ArmCounts) -> Moments:
    """The metric's sums of one arm."""
    return Moments(counts.metric.count, counts.metric.total, counts.metric.total_sq)


def information_fraction(config: ABTestConfig, arms: Arms, elapsed_s: float) -> float:
    """Values over the planned sample, or time over the duration without one; 1 at the end.

    Spending by calendar time is allowed as long as the covariance uses the real information:
    Lan & DeMets, "Group sequential procedures: calendar versus information time", Statistics in
    Medicine 8 (1989) 1191–1198.
    """
    if elapsed_s >= config.duration_seconds:
        return 1.0
    if config.planned_samples is None:
        return max(0.0, elapsed_s / config.duration_seconds)
    values = sum(counts.metric.count for counts in arms.values())
    return min(1.0, values / config.planned_samples)


def judge_metric(
    config: ABTestConfig, arms: Arms, previous: Sequence[Look], elapsed_s: float
) -> MetricLook:
    """Test the metric, if it is time to, with a boundary that knows all earlier tests."""
    fraction = information_fraction(config, arms, elapsed_s)
    champion, challenger = moments(arms[Variant.CHAMPION]), moments(arms[Variant.CHALLENGER])
    look = MetricLook(fraction, final=fraction >= 1)
    if min(champion.count, challenger.count) < 2:
        return look
    sign = 1.0 if config.better is Direction.MAXIMIZE else -1.0
    z = sign * standard_score(champion, challenger)
    change = relative_change(champion, challenger)
    estimate = None if change is None else sign * change
    tested = [earlier for earlier in previous if earlier.boundary is not None]
    information = [_information(earlier.arms) for earlier in tested] + [_information(arms)]
    if not _due(config, arms, tested, fraction) or not _grows(information):
        return MetricLook(fraction, look.final, z=z, estimate=estimate)
    upper = [earlier.boundary for earlier in tested if earlier.boundary is not None]
    upper.append(next_boundary(information, upper, spent_alpha(fraction, config.alpha)))
    return MetricLook(
        fraction,
        look.final,
        z=z,
        boundary=upper[-1],
        futility=None if look.final else _futility(config, information, upper, tested),
        estimate=estimate,
        interval=_signed(relative_interval(champion, challenger, upper[-1]), sign),
    )


def _due(config: ABTestConfig, arms: Arms, tested: Sequence[Look], fraction: float) -> bool:
    if min(counts.metric.count for counts in arms.values()) < config.min_exposures:
        return False
    last = tested[-1].information_fraction if tested else 0.0
    return fraction >= 1 or _slot(fraction, config.looks) > _slot(last, config.looks)


def _slot(fraction: float, looks: int) -> int:
    # The small allowance keeps a look that falls on the schedule up to rounding.
    return math.floor(fraction * looks + 1e-9)


def _information(arms: Arms) -> float:
    """Up to the unknown variance: information of a difference between two arms."""
    champion, challenger = (arms[v].metric.count for v in (Variant.CHAMPION, Variant.CHALLENGER))
    return champion * challenger / (champion + challenger)


def _grows(information: Sequence[float]) -> bool:
    return all(before < after for before, after in itertools.pairwise(information))


def _futility(
    config: ABTestConfig,
    information: Sequence[float],
    upper: Sequence[float],
    tested: Sequence[Look],
) -> float | None:
    """Where hope is lost for the improvement the planned sample was made to find."""
    if config.planned_samples is None:
        return None
    share = config.traffic_split
    planned = config.planned_samples * share * (1 - share)
    levels = [level / planned for level in information]
    aim = Aim(config.alpha, config.power, share)
    inflation = sequential_plan(config.alpha, config.power, config.looks).inflation
    beta = (1 - config.power) * FUTILITY_SHARE
    return next_futility(
        levels,
        upper,
        [earlier.thresholds[FUTILITY] for earlier in tested],
        cumulative_beta=spent_alpha(levels[-1], beta),
        drift=aim.drift * math.sqrt(inflation),
    )


def _signed(interval: tuple[float, float] | None, sign: float) -> tuple[float, float] | None:
    if interval is None:
        return None
    low, high = sorted(sign * end for end in interval)
    return low, high
