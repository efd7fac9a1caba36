"""The study of the effect judge at a size that fits a test."""

from __future__ import annotations

import json

import pytest

from benchmarks.effect_study import ALPHA, main


def test_the_study_passes_at_small_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--quick"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert report["alpha"] == ALPHA
    groups = {figure["group"] for figure in report["figures"]}
    assert {"false verdict", "-10% found", "-20% found"} <= groups


def test_a_study_too_small_to_say_anything_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--runs", "10"])
