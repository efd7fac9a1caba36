from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.comparisons import Bounds, Outcome
from benchmarks.gate import worth_repeating
from benchmarks.gate_checks import (
    memory_check,
    quality_check,
    required_rate,
    throughput_check,
    tried_rate,
)
from benchmarks.gate_records import (
    ArmReport,
    Comparison,
    Conditions,
    GateResult,
    GateVerdict,
    conclude,
)
from benchmarks.gate_timing import Trials, interleaved, judge_trials
from benchmarks.measures import Measure, Unavailable
from benchmarks.memory import MemoryUse
from benchmarks.quality import Predictions, QualityMetric
from config.settings import GateSettings

SETTINGS = GateSettings()
SEED = 8
UNKNOWN = Unavailable("throughput", "requests/s", "no rate keeps p99 within 100 ms")


def rate(value: float) -> Measure:
    return Measure("throughput", value, "requests/s")


@pytest.mark.parametrize(
    ("champion", "wanted"),
    [
        # 100 ms a request: 20 % less is 8/s, while 1 ms more a request would be 9.9/s.
        (10.0, 8.0),
        # 10 µs a request: 1 ms more, which the latency margin allows, is 990/s.
        (100_000.0, 990.1),
    ],
)
def test_the_rate_asked_for_follows_the_wider_margin(champion: float, wanted: float) -> None:
    assert required_rate(champion, SETTINGS) == pytest.approx(wanted, rel=1e-3)


def test_a_trial_is_only_made_harder_to_save_time() -> None:
    assert tried_rate(990.0, 100.0, (50_000.0, 60_000.0)) == 990.0
    assert tried_rate(2.0, 100.0, (50_000.0, 60_000.0)) == 100.0
    assert tried_rate(2.0, 100.0, (50.0, 60.0)) == 25.0


@pytest.mark.parametrize(
    ("candidate", "champion", "count", "outcome"),
    [
        (6, 6, 6, Outcome.PASS),
        (5, 6, 6, Outcome.INCONCLUSIVE),
        (0, 6, 6, Outcome.FAIL),
        (0, 3, 6, Outcome.INCONCLUSIVE),
        (10, 12, 12, Outcome.PASS),
        (2, 12, 12, Outcome.FAIL),
        (6, 12, 12, Outcome.INCONCLUSIVE),
    ],
)
def test_trials_blame_the_candidate_only_where_the_champion_keeps_up(
    candidate: int, champion: int, count: int, outcome: Outcome
) -> None:
    assert judge_trials(candidate, champion, count, 0.025) is outcome


def test_failing_at_more_than_is_asked_for_refutes_nothing() -> None:
    trials = Trials(200.0, 0, 6, 6, Outcome.FAIL)
    found = (rate(500.0), rate(500.0))
    assert throughput_check(found, 200.0, trials).outcome is Outcome.FAIL
    assert throughput_check(found, 2.0, trials).outcome is Outcome.INCONCLUSIVE


def test_a_candidate_without_throughput_fails_beside_a_champion_with_it() -> None:
    check = throughput_check((UNKNOWN, rate(50.0)), 40.0, None)
    assert check.outcome is Outcome.FAIL
    assert "no rate keeps p99 within 100 ms" in check.sentence
    assert throughput_check((rate(50.0), UNKNOWN), None, None).outcome is Outcome.PASS
    assert throughput_check((UNKNOWN, UNKNOWN), None, None).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("candidate", "champion", "outcome"),
    [
        (64.0, 1.0, Outcome.PASS),
        (66.0, 1.0, Outcome.FAIL),
        (1400.0, 1000.0, Outcome.PASS),
        (1600.0, 1000.0, Outcome.FAIL),
        (math.nan, 1.0, Outcome.INCONCLUSIVE),
    ],
)
def test_memory_has_a_relative_and_an_absolute_margin(
    candidate: float, champion: float, outcome: Outcome
) -> None:
    uses = MemoryUse(0.0, candidate), MemoryUse(0.0, champion)
    assert memory_check(*uses, SETTINGS).outcome is outcome


def _predictions(right: int, count: int) -> Predictions:
    values = np.asarray([1] * right + [0] * (count - right))
    return Predictions(values, np.zeros(count, dtype=np.bool_), None)


@pytest.mark.parametrize(
    ("right", "outcome"),
    [(380, Outcome.PASS), (374, Outcome.PASS), (360, Outcome.INCONCLUSIVE), (330, Outcome.FAIL)],
)
def test_accuracy_is_accepted_only_when_the_rows_show_it(right: int, outcome: Outcome) -> None:
    # The champion has 380 of 400; a candidate 5 points below, at 360, is on the margin.
    arms = _predictions(right, 400), _predictions(380, 400)
    labels = np.ones(400, dtype=np.int64)
    rng = np.random.default_rng(SEED)
    check = quality_check(QualityMetric.ACCURACY, arms, labels, SETTINGS, rng)
    assert check.outcome is outcome, check.sentence


def test_f1_is_compared_by_drawing_the_same_rows_for_both() -> None:
    arms = _predictions(380, 400), _predictions(380, 400)
    labels = np.ones(400, dtype=np.int64)
    rng = np.random.default_rng(SEED)
    check = quality_check(QualityMetric.F1, arms, labels, SETTINGS, rng)
    assert check.excess == Bounds(0.0, 0.0, 0.0)
    assert check.outcome is Outcome.PASS


def test_one_failure_outweighs_every_open_question() -> None:
    def comparison(outcome: Outcome) -> Comparison:
        return Comparison("x", "", None, None, None, None, outcome, outcome.value)

    passed, failed, unsure = (comparison(outcome) for outcome in Outcome)
    assert conclude((passed, passed))[0] is GateVerdict.ACCEPT
    assert conclude((passed, unsure))[0] is GateVerdict.INCONCLUSIVE
    assert conclude((unsure, failed, passed)) == (GateVerdict.REJECT, "Rejected: fail.")


def test_neighbouring_blocks_mirror_each_other() -> None:
    order = [index for pair in interleaved(2, 40, np.random.default_rng(SEED)) for index in pair]
    fours = {tuple(order[i : i + 4]) for i in range(0, 80, 4)}
    assert fours == {(0, 1, 1, 0), (1, 0, 0, 1)}


@pytest.mark.parametrize(
    ("outcomes", "again"),
    [
        ({"latency_p95": "inconclusive", "throughput": "pass"}, True),
        ({"latency_p95": "inconclusive", "throughput": "inconclusive"}, True),
        ({"latency_p95": "inconclusive", "accuracy": "inconclusive"}, False),
        ({"latency_p95": "inconclusive", "memory": "fail"}, False),
        ({"latency_p95": "pass", "throughput": "pass"}, False),
    ],
)
def test_only_timing_that_was_left_open_is_measured_again(
    outcomes: dict[str, str], again: bool
) -> None:
    comparisons = tuple(
        Comparison(name, "", None, None, None, None, Outcome(outcome), outcome)
        for name, outcome in outcomes.items()
    )
    verdict, reason = conclude(comparisons)
    arm = ArmReport("digits", 2, "0" * 64, ())
    result = GateResult(verdict, reason, arm, None, comparisons, Conditions())
    assert worth_repeating(result) is again
