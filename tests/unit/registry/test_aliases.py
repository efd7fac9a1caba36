"""Alias moves and their history: once, compared first, and everybody else's seen once too."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from itertools import pairwise

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock, SystemClock
from config.errors import ConflictError, DeadlineExceeded, InputError, RegistryUnavailable
from registry.alias_history import STALE_S, AliasHistory, Intended
from registry.aliases import AliasMover
from registry.ledger.database import exclusive, open_ledger
from registry.ledger.events import EventLog
from registry.records import AliasMove, MoveState
from tests.services.alias_registry import MemoryAliases

MODEL = "digits"


@pytest.fixture
def registry() -> MemoryAliases:
    registry = MemoryAliases(MODEL)
    registry.set_alias(MODEL, "champion", 1)
    registry.writes.clear()
    return registry


@pytest.fixture
def history(ledger: Engine, clock: ManualClock) -> AliasHistory:
    history = AliasHistory(ledger, clock)
    history.observe(MODEL, {"champion": 1}, "the first look")
    clock.advance(2 * STALE_S)
    return history


@pytest.fixture
def mover(
    ledger: Engine, clock: ManualClock, registry: MemoryAliases, history: AliasHistory
) -> AliasMover:
    return AliasMover(ledger, clock, registry)


def _move(
    mover: AliasMover, expected: int | None = 1, to: int | None = 2, alias: str = "champion"
) -> AliasMove:
    return mover.move(MODEL, alias, expected=expected, to=to, actor="a test", reason="to see")


def _told(history: AliasHistory, alias: str = "champion") -> list[tuple[int | None, int | None]]:
    """The settled moves as pairs; each has to begin where the one before ended."""
    moves = [move for move in history.list(MODEL) if move.alias == alias]
    done = [move for move in moves if move.state is MoveState.DONE]
    assert all(one.after == other.before for one, other in pairwise(done))
    return [(move.before, move.after) for move in done]


def test_a_move_is_made_and_recorded(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory, clock: ManualClock
) -> None:
    move = _move(mover)
    assert registry.aliases(MODEL) == {"champion": 2}
    assert registry.writes == [(MODEL, "champion", 2)]
    assert history.list(MODEL)[-1] == move
    assert (move.before, move.after, move.actor, move.reason) == (1, 2, "a test", "to see")
    assert (move.state, move.outside, move.at) == (MoveState.DONE, False, clock.now())


def test_aliases_appear_and_go(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    _move(mover, None, 2, "challenger")
    _move(mover, 2, None, "challenger")
    assert registry.aliases(MODEL) == {"champion": 1}
    assert _told(history, "challenger") == [(None, 2), (2, None)]


@pytest.mark.parametrize("expected", [None, 3])
def test_an_alias_that_is_not_as_expected_is_left_alone(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory, expected: int | None
) -> None:
    with pytest.raises(ConflictError, match="names version 1"):
        _move(mover, expected)
    assert registry.writes == []
    assert _told(history) == [(None, 1)]
    assert history.open_intents() == []


def test_a_move_from_outside_that_nobody_saw_is_recorded_before_ours(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    registry.set_alias(MODEL, "champion", 5)
    _move(mover, 5, 6)
    assert _told(history) == [(None, 1), (1, 5), (5, 6)]


def test_a_move_to_itself_is_refused(mover: AliasMover) -> None:
    with pytest.raises(InputError, match="nothing to do"):
        _move(mover, 1, 1)


def test_a_version_that_does_not_exist_fails_cleanly(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    with pytest.raises(InputError, match="no version 99"):
        _move(mover, 1, 99)
    assert history.list(MODEL)[-1].state is MoveState.FAILED
    assert registry.aliases(MODEL) == {"champion": 1}
    _move(mover)


def test_a_registry_that_is_away_changes_nothing(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    registry.away = True
    with pytest.raises(RegistryUnavailable):
        _move(mover)
    registry.away = False
    assert history.open_intents() == []
    assert mover.recover() == []
    assert registry.writes == []


def test_a_lost_answer_is_found_out_by_reading(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    registry.lose_answers = True
    assert _move(mover).state is MoveState.DONE
    assert registry.writes == [(MODEL, "champion", 2)]
    assert _told(history) == [(None, 1), (1, 2)]


def test_a_lost_write_stays_open_until_it_is_recovered(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    registry.lose_writes = True
    with pytest.raises(RegistryUnavailable):
        _move(mover)
    [intent] = history.open_intents(MODEL)
    assert intent.state is MoveState.INTENT
    registry.lose_writes = False
    [settled] = mover.recover()
    assert (settled.id, settled.state) == (intent.id, MoveState.DONE)
    assert registry.aliases(MODEL) == {"champion": 2}
    assert mover.recover() == []
    assert _told(history) == [(None, 1), (1, 2)]


def test_a_lost_write_is_settled_before_the_next_move(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    registry.lose_writes = True
    with pytest.raises(RegistryUnavailable):
        _move(mover)
    registry.lose_writes = False
    _move(mover, 2, 3)
    assert _told(history) == [(None, 1), (1, 2), (2, 3)]


def test_doubt_is_handed_over(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    registry.lose_writes = True
    with pytest.raises(RegistryUnavailable):
        _move(mover)
    registry.lose_writes = False
    registry.set_alias(MODEL, "champion", 7)
    [settled] = mover.recover()
    assert settled.state is MoveState.HANDED_OVER
    assert "a person has to look" in settled.reason
    assert registry.aliases(MODEL) == {"champion": 7}
    assert _told(history) == [(None, 1), (1, 7)]


def test_somebody_who_moves_on_at_once_stands(
    ledger: Engine, clock: ManualClock, registry: MemoryAliases, history: AliasHistory
) -> None:
    def meddle(point: str) -> None:
        if point == "champion:written":
            registry.set_alias(MODEL, "champion", 8)

    with pytest.raises(ConflictError, match="version 8 by another hand"):
        _move(AliasMover(ledger, clock, registry, checkpoint=meddle))
    assert _told(history) == [(None, 1), (1, 2), (2, 8)]


def test_somebody_who_moves_first_wins(
    ledger: Engine, clock: ManualClock, registry: MemoryAliases, history: AliasHistory
) -> None:
    def meddle(point: str) -> None:
        if point == "champion:intent":
            registry.set_alias(MODEL, "champion", 8)

    with pytest.raises(ConflictError, match="names version 8"):
        _move(AliasMover(ledger, clock, registry, checkpoint=meddle))
    assert registry.aliases(MODEL) == {"champion": 8}
    assert _told(history) == [(None, 1), (1, 8)]
    assert history.list(MODEL)[-2].state is MoveState.FAILED


def test_a_busy_lock_is_not_waited_for_endlessly(mover: AliasMover, ledger: Engine) -> None:
    with exclusive(ledger, f"aliases of {MODEL}", 1.0), pytest.raises(DeadlineExceeded):
        mover.move(MODEL, "champion", expected=1, to=2, actor="t", reason="r", deadline_s=0.1)


def test_recovery_leaves_a_mover_that_is_alive_alone(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory, ledger: Engine
) -> None:
    history.intend(Intended(MODEL, "champion", 1, 2, "a live mover", "won"))
    with exclusive(ledger, f"aliases of {MODEL}", 1.0), pytest.raises(DeadlineExceeded):
        mover.recover(deadline_s=0.1)
    assert registry.writes == []


def test_no_time_left_changes_nothing(
    ledger: Engine, clock: ManualClock, registry: MemoryAliases, history: AliasHistory
) -> None:
    def dawdle(point: str) -> None:
        if point == "champion:intent":
            clock.advance(60)

    with pytest.raises(DeadlineExceeded, match="left alone"):
        _move(AliasMover(ledger, clock, registry, checkpoint=dawdle))
    assert registry.writes == []
    assert history.open_intents() == []


def test_promotion_keeps_a_way_back(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory
) -> None:
    registry.set_alias(MODEL, "challenger", 2)
    registry.writes.clear()
    moves = mover.promote(MODEL, 2, expected_champion=1, actor="a flow", reason="won")
    assert [(move.alias, move.after) for move in moves] == [
        ("previous", 1),
        ("champion", 2),
        ("challenger", None),
    ]
    assert registry.aliases(MODEL) == {"champion": 2, "previous": 1}
    assert mover.promote(MODEL, 2, expected_champion=1, actor="a flow", reason="won") == []
    assert len(registry.writes) == 3


def test_the_first_champion_has_no_previous(
    ledger: Engine, clock: ManualClock, history: AliasHistory
) -> None:
    registry = MemoryAliases("new")
    mover = AliasMover(ledger, clock, registry)
    mover.promote("new", 1, expected_champion=None, actor="a", reason="r")
    assert registry.aliases("new") == {"champion": 1}


def test_a_roll_back_is_a_promotion_of_the_previous(
    mover: AliasMover, registry: MemoryAliases
) -> None:
    mover.promote(MODEL, 2, expected_champion=1, actor="a", reason="won")
    mover.promote(MODEL, 1, expected_champion=2, actor="a", reason="rolled back")
    assert registry.aliases(MODEL) == {"champion": 1, "previous": 2}


def test_a_champion_somebody_chose_is_not_replaced(
    mover: AliasMover, registry: MemoryAliases
) -> None:
    registry.set_alias(MODEL, "champion", 7)
    registry.writes.clear()
    with pytest.raises(ConflictError, match="version 7"):
        mover.promote(MODEL, 2, expected_champion=1, actor="a", reason="won")
    assert registry.writes == []


def test_moves_from_outside_are_recorded_once(
    history: AliasHistory, clock: ManualClock, ledger: Engine
) -> None:
    assert history.observe(MODEL, {"champion": 4, "challenger": None}, "worker 1")
    assert history.observe(MODEL, {"champion": 4, "challenger": 5}, "worker 2")
    assert history.observe(MODEL, {"champion": 4, "challenger": 5}, "the watcher")
    assert _told(history) == [(None, 1), (1, 4)]
    assert _told(history, "challenger") == [(None, 5)]
    last = history.list(MODEL)[-2]
    assert (last.actor, last.outside) == ("outside; unknown", True)
    assert "worker 1" in last.reason
    entries = EventLog(ledger, clock).list(subject=MODEL, kind="alias")
    assert [entry.body["after"] for entry in entries] == [1, 4, 5]


def test_deletions_from_outside_are_recorded(history: AliasHistory, clock: ManualClock) -> None:
    assert history.observe(MODEL, {"champion": None}, "worker 1")
    assert _told(history) == [(None, 1), (1, None)]


def test_aliases_nobody_looked_at_are_not_gone(history: AliasHistory) -> None:
    assert history.observe(MODEL, {"challenger": 2}, "worker 1")
    assert history.observe(MODEL, {}, "worker 1")
    assert _told(history) == [(None, 1)]


def test_an_old_reading_is_not_taken_for_a_move(
    mover: AliasMover, history: AliasHistory, clock: ManualClock
) -> None:
    _move(mover)
    # A worker read version 1 just before the move, and tells it just after.
    assert not history.observe(MODEL, {"champion": 1}, "a slow worker")
    assert history.observe(MODEL, {"champion": 2}, "a slow worker")
    assert _told(history) == [(None, 1), (1, 2)]


def test_a_real_move_back_is_recorded_when_it_is_seen_again(
    mover: AliasMover, registry: MemoryAliases, history: AliasHistory, clock: ManualClock
) -> None:
    _move(mover)
    registry.set_alias(MODEL, "champion", 1)
    assert not history.observe(MODEL, {"champion": 1}, "worker 1")
    clock.advance(STALE_S + 1)
    assert history.observe(MODEL, {"champion": 1}, "worker 1")
    assert _told(history) == [(None, 1), (1, 2), (2, 1)]


def test_our_own_move_under_way_is_never_one_from_outside(
    ledger: Engine, clock: ManualClock, registry: MemoryAliases, history: AliasHistory
) -> None:
    def look(point: str) -> None:
        history.observe(MODEL, {"champion": registry.aliases(MODEL).get("champion")}, point)

    move = _move(AliasMover(ledger, clock, registry, checkpoint=look))
    assert _told(history) == [(None, 1), (1, 2)]
    assert not move.outside


def test_what_a_killed_mover_did_is_settled_by_whoever_sees_it(
    registry: MemoryAliases, history: AliasHistory, mover: AliasMover, clock: ManualClock
) -> None:
    intent = history.intend(Intended(MODEL, "champion", 1, 2, "a flow", "won"))
    registry.set_alias(MODEL, "champion", 2)
    assert history.observe(MODEL, {"champion": 2}, "worker 1")
    assert history.open_intents() == []
    assert history.list(MODEL)[-1].id == intent.id
    clock.advance(2 * STALE_S)
    # So a person's move back afterwards is theirs, and recovery does not undo it.
    registry.set_alias(MODEL, "champion", 1)
    assert history.observe(MODEL, {"champion": 1}, "worker 1")
    assert mover.recover() == []
    assert _told(history) == [(None, 1), (1, 2), (2, 1)]


def _observe_all(url: str, worker: str, versions: list[int]) -> None:
    history = AliasHistory(open_ledger(url), SystemClock())
    for version in versions:
        history.observe(MODEL, {"champion": version}, worker)


def test_observers_in_many_processes_record_each_move_once(ledger: Engine, ledger_url: str) -> None:
    _in_processes(_observe_all, [(ledger_url, f"w{n}", [1]) for n in range(4)])
    _in_processes(_observe_all, [(ledger_url, f"w{n}", [2, 2, 2]) for n in range(4)])
    assert _told(AliasHistory(ledger, SystemClock())) == [(None, 1), (1, 2)]


def _in_processes(work: Callable[..., None], calls: list[tuple[str, str, list[int]]]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=call) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)
