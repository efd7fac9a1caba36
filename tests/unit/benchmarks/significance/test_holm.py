from __future__ import annotations

import math

import pytest

from benchmarks.significance.holm import holm


def test_adjusts_step_by_step() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(adjusted) == ["a", "b", "c", "d"]


def test_never_passes_one() -> None:
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_nothing_to_adjust() -> None:
    assert holm({}) == {}


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_refuses_what_is_no_probability(bad: float) -> None:
    with pytest.raises(ValueError, match="p-value of 'x'"):
        holm({"x": bad})
