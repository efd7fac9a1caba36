from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.trial import CONTINUE
from benchmarks.trial_record import recompute, to_record
from config.errors import InputError
from registry.records import MetricTotals, TrialVerdict
from tests.unit.benchmarks.trials import Truth, arm, arms, config, judge, run

SEED = 41


@pytest.mark.parametrize(
    "truth",
    [
        Truth(right=(0.8, 0.95)),
        Truth(right=(0.9, 0.88)),
        Truth(errors=(0.002, 0.1)),
        Truth(right=(0.8, 0.83)),
    ],
)
def test_the_counts_give_the_recorded_verdict_again(truth: Truth) -> None:
    asked = config(planned_samples=6000)
    looks = run(np.random.default_rng(SEED), asked, truth)
    again = recompute(to_record(asked, looks))
    assert again.agrees
    assert again.verdict == looks[-1].verdict
    assert again.reason == looks[-1].reason
    assert list(again.looks) == looks


def test_a_record_with_other_counts_is_found_out() -> None:
    asked = config()
    looks = run(np.random.default_rng(SEED), asked, Truth(right=(0.8, 0.95)))
    assert looks[-1].verdict == TrialVerdict.PROMOTE
    body = json.loads(to_record(asked, looks))
    body["looks"][-1]["arms"]["challenger"]["metric"].update(total=90.0, total_sq=90.0)
    again = recompute(json.dumps(body))
    assert not again.agrees
    assert again.verdict != TrialVerdict.PROMOTE
    assert any("recorded promote" in difference for difference in again.differences)


def test_a_record_with_another_boundary_is_found_out() -> None:
    asked = config()
    body = json.loads(to_record(asked, [judge(asked, arms(arm(2700, 2160), arm(300, 245)))]))
    body["looks"][0]["boundary"] = 1.0
    assert "boundary 1.0" in recompute(json.dumps(body)).differences[0]


def test_not_a_number_stays_strict_json_and_decides_the_same() -> None:
    broken = arm(300, 245)
    broken = type(broken)(300, 0, 0, MetricTotals(300, math.nan, 245, None))
    look = judge(config(), arms(arm(2700, 2160), broken))
    text = to_record(config(), [look])
    assert "NaN" not in text
    assert recompute(text).agrees


def test_a_trial_without_looks_goes_on() -> None:
    assert recompute(to_record(config(), [])).verdict == CONTINUE


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1}'])
def test_other_texts_are_refused_with_the_place(text: str) -> None:
    with pytest.raises(InputError, match="not a trial record"):
        recompute(text)


def test_a_newer_schema_is_refused() -> None:
    text = to_record(config(), []).replace('"schema_version": 1', '"schema_version": 2')
    with pytest.raises(InputError, match="schema 2"):
        recompute(text)
