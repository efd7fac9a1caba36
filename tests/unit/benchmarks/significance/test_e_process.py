from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.significance.e_process import (
    ERRORS,
    SLOW_ANSWERS,
    Mixture,
    Stage,
    e_value,
    log_evidence,
    log_evidence_of,
)

SEED = 13


@pytest.mark.parametrize("share", [0.5, 0.1, 0.05, 0.01])
@pytest.mark.parametrize("mixture", [ERRORS, SLOW_ANSWERS])
def test_one_event_is_a_fair_bet_at_most(share: float, mixture: Mixture) -> None:
    mine = math.exp(log_evidence([Stage(share, 0, 1)], mixture))
    other = math.exp(log_evidence([Stage(share, 1, 0)], mixture))
    assert share * mine + (1 - share) * other == pytest.approx(1, abs=1e-12)
    assert mine > 1 > other


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_whole_tree_of_ten_events_has_mean_one(share: float) -> None:
    total = sum(
        math.comb(10, k) * share**k * (1 - share) ** (10 - k)
        * math.exp(log_evidence([Stage(share, 10 - k, k)], ERRORS))
        for k in range(11)
    )  # fmt: skip
    assert total == pytest.approx(1, abs=1e-10)


def test_a_better_challenger_gathers_no_evidence() -> None:
    assert log_evidence([Stage(0.1, 1000, 20)], ERRORS) < 0


def test_no_events_are_no_evidence() -> None:
    assert log_evidence([], ERRORS) == pytest.approx(0, abs=1e-12)
    assert log_evidence([Stage(0.1, 0, 0)], ERRORS) == pytest.approx(0, abs=1e-12)


def test_a_failing_version_is_found_within_a_few_errors() -> None:
    needed = next(k for k in range(50) if log_evidence([Stage(0.1, 0, k)], ERRORS) > math.log(50))
    assert needed <= 5


def test_stages_at_one_share_are_one_stage() -> None:
    parts = [Stage(0.1, 12, 3), Stage(0.1, 30, 9)]
    assert log_evidence(parts, ERRORS) == pytest.approx(log_evidence([Stage(0.1, 42, 12)], ERRORS))


def test_a_ramp_is_read_by_its_stages_and_not_by_its_totals() -> None:
    # At 5 % and then 50 % the challenger has exactly its share of equal errors.
    fair = log_evidence([Stage(0.05, 95, 5), Stage(0.5, 100, 100)], ERRORS)
    pooled = log_evidence([Stage(0.05, 195, 105)], ERRORS)
    assert fair < 0
    assert pooled > math.log(1000)


def test_ramped_trials_keep_the_error_level() -> None:
    rng = np.random.default_rng(SEED)
    alarms = 0
    for _ in range(2000):
        done: list[Stage] = []
        for share in (0.05, 0.2, 0.5):
            mine = int(rng.binomial(60, share))
            done.append(Stage(share, 60 - mine, mine))
            alarms_now = log_evidence(done, ERRORS) >= math.log(1 / 0.05)
            if alarms_now:
                alarms += 1
                break
    assert alarms / 2000 <= 0.05


def test_arrays_agree_with_single_values() -> None:
    table = log_evidence_of([[3, 40]], [[1, 12]], 0.1, ERRORS)
    assert table.shape == (1, 2)
    assert table[0, 1] == pytest.approx(log_evidence([Stage(0.1, 40, 12)], ERRORS))


def test_overwhelming_evidence_is_still_a_number() -> None:
    assert e_value(log_evidence([Stage(0.1, 0, 10_000)], ERRORS)) == pytest.approx(1e300)


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        Stage(share, 1, 1)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Stage(0.1, -1, 0)
