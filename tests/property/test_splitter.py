"""The split is a pure function: exact, steady, and only ever moving keys to the challenger."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from registry.records import Route, RouteMode, Variant
from registry.splitter import Division, assign, bucket, point, salt_prefix

texts = st.text(max_size=60)
shares = st.floats(0.0, 1.0)


def route(salt: str, weight: float, mode: RouteMode = RouteMode.AB) -> Route:
    return replace(
        Route.none("digits"), mode=mode, salt=salt, weight=weight, champion=1, challenger=2
    )


@given(texts, texts)
def test_a_key_falls_into_the_unit_interval(salt: str, key: str) -> None:
    assert 0.0 <= bucket(salt, key) < 1.0


@given(texts, texts, shares, shares)
def test_a_ramp_moves_nobody_back_to_control(salt: str, key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if assign(route(salt, low), key) is Variant.CHALLENGER:
        assert assign(route(salt, high), key) is Variant.CHALLENGER


@given(texts, texts)
def test_the_ends_of_a_ramp_are_all_or_nothing(salt: str, key: str) -> None:
    assert assign(route(salt, 0.0), key) is Variant.CHAMPION
    assert assign(route(salt, 1.0), key) is Variant.CHALLENGER


@given(texts, texts, shares)
def test_without_an_experiment_the_champion_answers_everyone(
    salt: str, key: str, weight: float
) -> None:
    for mode in (RouteMode.NONE, RouteMode.SHADOW):
        assert assign(route(salt, weight, mode), key) is Variant.CHAMPION


@given(st.text(min_size=1, max_size=20), texts)
def test_salt_and_key_do_not_run_together(head: str, tail: str) -> None:
    moved = point(salt_prefix(head), tail.encode("utf-8", "surrogatepass"))
    joined = point(salt_prefix(""), (head + tail).encode("utf-8", "surrogatepass"))
    assert moved != joined


def test_assignments_stay_as_they_were_in_earlier_releases() -> None:
    # A change here would move users of running experiments to the other arm.
    found = [round(bucket("exp-1", f"user-{n}"), 6) for n in range(3)]
    assert found == [0.518347, 0.320865, 0.652306]


@given(texts, st.text(max_size=60), shares)
def test_the_fast_form_assigns_like_the_plain_one(salt: str, key: str, weight: float) -> None:
    raw = key.encode("utf-8", "surrogatepass")
    plain = assign(route(salt, weight), key) is Variant.CHALLENGER
    assert Division(salt, weight).to_challenger(raw) is plain
