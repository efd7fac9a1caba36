"""What holds for all inputs of the statistics."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.significance import sample_ratio
from benchmarks.significance.e_process import ERRORS, SLOW_ANSWERS, Mixture, Stage, log_evidence
from benchmarks.significance.group_sequential import crossing, next_boundary, spent_alpha
from benchmarks.significance.holm import holm
from benchmarks.significance.moments import Moments
from benchmarks.significance.score import standard_score
from benchmarks.trial import CONTINUE
from registry.records import ArmCounts, MetricTotals, TrialVerdict
from tests.unit.benchmarks.trials import arms, config, judge

SHARES = st.floats(0.01, 0.99)
MIXTURES = st.one_of(
    st.sampled_from([ERRORS, SLOW_ANSWERS]),
    st.builds(Mixture, ratio=st.floats(1.01, 50), spread=st.floats(0.05, 3)),
)
COUNTS = st.integers(0, 5000)
GAPS = st.lists(st.floats(0.02, 0.6), min_size=1, max_size=8)


@given(SHARES, MIXTURES, COUNTS, COUNTS)
def test_the_next_event_is_a_fair_bet_after_any_history(
    share: float, mixture: Mixture, champion: int, challenger: int
) -> None:
    now = log_evidence([Stage(share, champion, challenger)], mixture)
    mine = log_evidence([Stage(share, champion, challenger + 1)], mixture) - now
    other = log_evidence([Stage(share, champion + 1, challenger)], mixture) - now
    assert share * math.exp(mine) + (1 - share) * math.exp(other) == pytest.approx(1, rel=1e-6)


@given(SHARES, SHARES, MIXTURES, COUNTS, COUNTS)
def test_a_challenger_with_fewer_events_is_a_losing_bet(
    share: float, fraction: float, mixture: Mixture, champion: int, challenger: int
) -> None:
    true_share = share * fraction
    now = log_evidence([Stage(share, champion, challenger)], mixture)
    mine = log_evidence([Stage(share, champion, challenger + 1)], mixture) - now
    other = log_evidence([Stage(share, champion + 1, challenger)], mixture) - now
    assert true_share * math.exp(mine) + (1 - true_share) * math.exp(other) <= 1 + 1e-6


@given(SHARES, COUNTS, COUNTS)
def test_the_split_is_a_fair_bet_after_any_history(
    share: float, champion: int, challenger: int
) -> None:
    now = sample_ratio.log_evidence([Stage(share, champion, challenger)])
    mine = sample_ratio.log_evidence([Stage(share, champion, challenger + 1)]) - now
    other = sample_ratio.log_evidence([Stage(share, champion + 1, challenger)]) - now
    assert share * math.exp(mine) + (1 - share) * math.exp(other) == pytest.approx(1, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(GAPS, st.floats(0.001, 0.2))
def test_any_schedule_of_looks_spends_alpha_at_most(gaps: list[float], alpha: float) -> None:
    levels = [sum(gaps[: count + 1]) for count in range(len(gaps))]
    used: list[float] = []
    for count, level in enumerate(levels, start=1):
        used.append(next_boundary(levels[:count], used, spent_alpha(level, alpha)))
    spent = sum(crossing(levels, used, [-math.inf] * len(used)).upper)
    assert spent <= spent_alpha(levels[-1], alpha) + 1e-6
    assert spent == pytest.approx(spent_alpha(levels[-1], alpha), abs=1e-6)


@given(st.floats(0.0, 2.0), st.floats(0.0, 2.0), st.floats(0.001, 0.4))
def test_spending_never_falls(one: float, other: float, alpha: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= spent_alpha(low, alpha) <= spent_alpha(high, alpha) <= alpha


@given(st.integers(1, 3000), st.integers(1, 3000), st.data())
def test_swapping_the_arms_swaps_the_sign(n_a: int, n_b: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, n_a)), data.draw(st.integers(0, n_b))
    one, other = Moments(n_a, a, a), Moments(n_b, b, b)
    z = standard_score(one, other)
    assert math.isfinite(z)
    assert z == pytest.approx(-standard_score(other, one), abs=1e-9)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_raises_p_values_and_not_past_bonferronis_largest(p_values: dict[str, float]) -> None:
    largest = max(p_values.values(), default=0.0)
    for name, adjusted in holm(p_values).items():
        assert p_values[name] <= adjusted <= min(1.0, len(p_values) * largest)


def _numbers(whole: bool) -> st.SearchStrategy[float]:
    if whole:
        return st.one_of(st.integers(-5, 10**7), st.just(0))
    return st.one_of(st.floats(), st.floats(0, 1e6), st.just(math.nan))


ANY_ARM = st.builds(
    ArmCounts,
    _numbers(True),
    _numbers(True),
    _numbers(True),
    st.builds(MetricTotals, _numbers(True), _numbers(False), _numbers(False), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(ANY_ARM, ANY_ARM, st.floats(0, 400), st.booleans())
def test_no_counts_break_the_judge_and_none_promote_without_their_guards(
    champion: ArmCounts, challenger: ArmCounts, elapsed: float, planned: bool
) -> None:
    asked = config(planned_samples=5000 if planned else None)
    look = judge(asked, arms(champion, challenger), elapsed_s=elapsed)
    assert look.verdict in {CONTINUE, *TrialVerdict}
    assert look.reason
    if elapsed >= asked.duration_seconds:
        assert look.verdict != CONTINUE
    if look.verdict == TrialVerdict.PROMOTE:
        assert look.z is not None
        assert look.boundary is not None
        assert look.estimate is not None
        assert look.z >= look.boundary
        assert look.estimate >= asked.min_improvement
        assert min(champion.exposures, challenger.exposures) >= asked.min_exposures
        assert all(look.evidence[key] < look.thresholds[key] for key in look.evidence)
