from __future__ import annotations

import json

import pytest

from benchmarks.significance.__main__ import main
from benchmarks.significance.study import Figure, Scale, all_passed, at_least, error_rate


def test_quick_study_reports_every_figure_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    groups = {figure["group"] for figure in report["figures"]}
    assert report["passed"] is True
    assert report["seed"] == 20_240_601
    assert {
        "false promotion",
        "false error alarm",
        "false latency alarm",
        "false split alarm",
        "any false ending",
        "decision metric, power",
        "decision metric, mean size / fixed size",
        "error guardrail, power",
        "latency guardrail, power",
        "beside: fixed test, power",
        "beside: textbook z, peeking",
    } <= groups


def test_a_missed_figure_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = Figure("power", "of nothing", 0.1, ">= 0.780", passed=False)
    monkeypatch.setattr("benchmarks.significance.__main__.power", lambda *_: [missed])
    monkeypatch.setattr("benchmarks.significance.__main__.false_positives", lambda *_: [])
    assert main(["--quick"]) == 1
    printed = capsys.readouterr().out
    assert "MISS     0.1000  of nothing   wanted >= 0.780" in printed
    assert "1 missed" in printed
    assert "seed 20240601" in printed


def test_too_few_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--runs", "5"])
    assert "say nothing" in capsys.readouterr().err


def test_error_rates_may_pass_their_level_by_three_standard_errors_only() -> None:
    assert error_rate("g", "n", 0.0565, 0.05, 10_000).passed
    assert not error_rate("g", "n", 0.0566, 0.05, 10_000).passed


def test_power_is_judged_strictly_in_a_full_study() -> None:
    assert not at_least("g", "n", 0.7799, 0.78, Scale(20_000, quick=False)).passed
    assert at_least("g", "n", 0.75, 0.78, Scale(400, quick=True)).passed
    assert all_passed([Figure("g", "beside", 0.5)])
