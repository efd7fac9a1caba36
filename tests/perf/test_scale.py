"""The scale measurement on small sizes: memory grows no faster than linearly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.perf.scale import decisions, events, growth


def test_memory_of_decisions_grows_no_faster_than_linearly() -> None:
    assert growth(decisions((100, 1000)))["plan_mb"] < 1.2


def test_checking_the_chain_holds_one_page_of_it(tmp_path: Path) -> None:
    rows = events((1_500, 4_500), tmp_path)
    assert growth(rows)["verify_mb"] < 0.5
    assert [row["n"] for row in rows] == [1_500, 4_500]


def test_growth_is_an_exponent() -> None:
    found = growth([{"n": 10.0, "a": 1.0, "b": 1.0}, {"n": 100.0, "a": 10.0, "b": 100.0}])
    assert found == pytest.approx({"a": 1.0, "b": 2.0})
