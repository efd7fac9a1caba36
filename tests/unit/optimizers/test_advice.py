"""Advice ids: the same for the same cause, and different for any other."""

from __future__ import annotations

from optimizers.advice import advice_id


def test_the_same_cause_has_the_same_id() -> None:
    assert advice_id("cache_resize", "serving", "digits", 1000) == advice_id(
        "cache_resize", "serving", "digits", 1000
    )


def test_another_cause_has_another_id() -> None:
    ids = {
        advice_id("a", "b"),
        advice_id("a", "b", "c"),
        advice_id("a", "b", "c", 1),
        advice_id("a", "b", "c", "1"),
        advice_id("a", "b", "c1"),
        advice_id("ab", "", "c1"),
    }
    assert len(ids) == 6


def test_the_kind_can_be_read_from_it() -> None:
    assert advice_id("cache_resize", "serving").startswith("cache_resize-")
