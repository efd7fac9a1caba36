"""Routes: revisions that are never overwritten."""

from __future__ import annotations

import multiprocessing

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock, SystemClock
from config.errors import ConflictError, InputError
from registry.ledger.database import open_ledger
from registry.ledger.events import EventLog
from registry.records import Route, RouteMode
from registry.routing import RouteStore


def _put(store: RouteStore, expected: int, weight: float = 0.1, model: str = "digits") -> Route:
    return store.put(
        model,
        expected_revision=expected,
        mode=RouteMode.AB,
        champion=1,
        challenger=2,
        weight=weight,
        experiment_id="exp-1",
        salt="salt",
        by="a test",
        reason="to see",
    )


def test_a_model_without_routes_is_served_by_its_champion(
    ledger: Engine, clock: ManualClock
) -> None:
    store = RouteStore(ledger, clock)
    assert store.current("digits") == Route.none("digits")
    assert store.current_all() == {}


def test_what_is_put_is_current(ledger: Engine, clock: ManualClock) -> None:
    store = RouteStore(ledger, clock)
    first = _put(store, 0)
    clock.advance(1)
    second = _put(store, 1, weight=0.25)
    _put(store, 0, model="faces")
    assert store.current("digits") == second
    assert store.current_all()["digits"] == second
    assert store.current_all().keys() == {"digits", "faces"}
    assert store.history("digits") == [second, first]
    assert second.at == clock.now()


def test_a_route_seen_in_another_revision_is_not_overwritten(
    ledger: Engine, clock: ManualClock
) -> None:
    store = RouteStore(ledger, clock)
    first = _put(store, 0)
    for expected in (0, 2):
        with pytest.raises(ConflictError, match="revision 1"):
            _put(store, expected)
    assert store.current("digits") == first


def test_the_way_back_to_no_split(ledger: Engine, clock: ManualClock) -> None:
    store = RouteStore(ledger, clock)
    _put(store, 0)
    back = store.put(
        "digits", expected_revision=1, mode=RouteMode.NONE, champion=1, by="t", reason="over"
    )
    assert store.current("digits") == back
    assert (back.challenger, back.weight, back.experiment_id) == (None, 0.0, None)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_is_a_share(ledger: Engine, clock: ManualClock, weight: float) -> None:
    with pytest.raises(InputError, match="share"):
        _put(RouteStore(ledger, clock), 0, weight=weight)


def test_a_split_needs_both_versions(ledger: Engine, clock: ManualClock) -> None:
    with pytest.raises(InputError, match="challenger"):
        RouteStore(ledger, clock).put(
            "digits", expected_revision=0, mode=RouteMode.SHADOW, champion=1, by="t", reason="r"
        )


def test_each_route_is_an_event(ledger: Engine, clock: ManualClock) -> None:
    _put(RouteStore(ledger, clock), 0)
    [entry] = EventLog(ledger, clock).list(subject="digits", kind="route")
    assert entry.body["weight"] == 0.1
    assert entry.body["by"] == "a test"


def _race(url: str, count: int) -> None:
    store = RouteStore(open_ledger(url), SystemClock())
    done = 0
    while done < count:
        try:
            _put(store, store.current("digits").revision)
        except ConflictError:
            continue
        done += 1


def test_racing_writers_never_share_a_revision(ledger: Engine, ledger_url: str) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_race, args=(ledger_url, 8)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    history = RouteStore(ledger, SystemClock()).history("digits")
    assert [route.revision for route in history] == list(range(24, 0, -1))
