"""Actions: proposed once, moved by those who know where they stand, started within limits."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock, SystemClock, epoch
from config.errors import ConflictError, InputError, StaleToken
from registry.agent_actions import ActionStore
from registry.agent_records import Action, ActionState, Effect, Verdict
from registry.ledger.database import exclusive, open_ledger
from registry.ledger.events import EventLog
from tests.unit.registry.agent_samples import NO_LIMITS, action

S = ActionState


@pytest.fixture
def store(ledger: Engine, clock: ManualClock) -> ActionStore:
    return ActionStore(ledger, clock)


def test_an_action_comes_back_as_it_was_proposed(store: ActionStore) -> None:
    made = store.propose(action("a", due_at=5.0, progress={"seen": [1, None]}))
    found = store.get("action-a")
    assert found == made
    assert found is not None
    assert found.proposal.digest == action("a").proposal.digest
    assert store.get("action-b") is None


def test_the_same_advice_is_one_action_until_it_ends(store: ActionStore) -> None:
    first = store.propose(action("a"))
    second = replace(action("a"), id="action-a2")
    assert store.propose(second) == first
    assert store.propose(first) == first
    store.move(first, S.REJECTED, "no")
    assert store.propose(second).id == "action-a2"
    assert [one.id for one in store.list()] == ["action-a2", "action-a"]


def test_the_same_simulated_action_is_recorded_once(store: ActionStore) -> None:
    first = store.propose(action("a", S.SIMULATED))
    again = replace(action("a", S.SIMULATED), id="action-a2")
    assert store.propose(again) == first
    real = store.propose(replace(again, state=S.SCHEDULED))
    assert real.id == "action-a2"


def test_what_is_only_recorded_has_ended_with_that(store: ActionStore, clock: ManualClock) -> None:
    simulated = store.propose(action("a", S.SIMULATED))
    assert simulated.finished_at == epoch(clock.now())
    assert store.finished_since(epoch(clock.now())) == [simulated]


def test_an_action_begins_where_nothing_has_been_done(store: ActionStore) -> None:
    with pytest.raises(InputError, match="begins as intent"):
        store.propose(action("a", S.INTENT))
    waits = action("b", S.WAITING_APPROVAL)
    with pytest.raises(ConflictError, match="needs an approval"):
        store.propose(replace(waits, state=S.SCHEDULED))
    assert store.list() == []


def _completed(store: ActionStore, clock: ManualClock, name: str, gain: float | None) -> Action:
    one = store.claim(store.propose(action(name, target=name, goal=name)).id, "me", 30)
    one = store.begin(one, NO_LIMITS, intent={"undo": 4}, deadline_at=epoch(clock.now()) + 60)
    one = store.move(one, S.APPLIED, "written", progress={"written": True})
    one = store.move(one, S.VERIFYING, "settled")
    effect = Effect(Verdict.IMPROVED, "faster", gain=gain, low=0.1, high=0.2)
    return store.move(one, S.COMPLETED, "faster", effect=effect)


def test_a_life_is_told_by_its_events(
    store: ActionStore, clock: ManualClock, ledger: Engine
) -> None:
    done = _completed(store, clock, "a", 0.15)
    assert (done.holder, done.lease_expires_at, done.token) == (None, None, 1)
    assert done.executed_at == done.finished_at == epoch(clock.now())
    assert store.get(done.id) == done
    story = store.stories(done.id)
    assert [entry.body["to"] for entry in story] == [
        "scheduled",
        "intent",
        "applied",
        "verifying",
        "completed",
    ]
    assert story[0].body["expected"] == {"mean": 0.2, "low": 0.1, "high": 0.3}
    assert story[1].body["intent"] == {"undo": 4}
    assert story[4].body["effect"] == {
        "verdict": "improved",
        "reason": "faster",
        "gain": 0.15,
        "low": 0.1,
        "high": 0.2,
        "worsened": [],
    }
    assert EventLog(ledger, clock).verify().ok


def test_what_ended_is_counted_and_summed(store: ActionStore, clock: ManualClock) -> None:
    _completed(store, clock, "a", 0.15)
    clock.advance(10)
    at = epoch(clock.now())
    _completed(store, clock, "b", 0.05)
    _completed(store, clock, "c", None)
    store.propose(action("d", at=at))
    assert store.counts() == {S.COMPLETED: 3, S.SCHEDULED: 1}
    assert store.total_improvement() == pytest.approx(0.2)
    assert [one.id for one in store.finished_since(at)] == ["action-b", "action-c"]
    assert [one.id for one in store.live()] == ["action-d"]
    assert store.started_since(at - 1) == 2
    assert store.last_started("batch_inference", "b") == at
    assert store.last_started("batch_inference", "nowhere") is None


def test_moves_from_elsewhere_are_refused(store: ActionStore) -> None:
    read = store.propose(action("a"))
    store.move(read, S.WAITING_APPROVAL, "a person should look")
    with pytest.raises(ConflictError, match="waiting_approval, not scheduled"):
        store.move(read, S.REJECTED, "no")
    assert len(store.stories(read.id)) == 2


def test_a_token_that_was_passed_on_moves_nothing(store: ActionStore, clock: ManualClock) -> None:
    mine = store.claim(store.propose(action("a")).id, "me", 30)
    clock.advance(31)
    theirs = store.claim(mine.id, "them", 30)
    assert theirs.token == mine.token + 1
    for late in (
        lambda: store.move(mine, S.REJECTED, "no"),
        lambda: store.begin(mine, NO_LIMITS),
        lambda: store.renew(mine, 30),
        lambda: store.guard(mine, paused=lambda: False).check(),
    ):
        with pytest.raises(StaleToken):
            late()
    store.release(mine)
    assert store.get(mine.id) == theirs


def test_a_living_holder_is_left_alone(store: ActionStore, clock: ManualClock) -> None:
    mine = store.claim(store.propose(action("a")).id, "me", 30)
    clock.advance(20)
    mine = store.renew(mine, 30)
    clock.advance(20)
    with pytest.raises(ConflictError, match="held by me for another 10 s"):
        store.claim(mine.id, "them", 30)
    assert store.claim(mine.id, "me", 30).token == 2
    store.release(store.claim(mine.id, "me", 30))
    assert store.claim(mine.id, "them", 30).holder == "them"


def test_a_lease_from_before_the_clock_was_set_back_does_not_hold_for_ever(
    store: ActionStore, clock: ManualClock
) -> None:
    mine = store.claim(store.propose(action("a")).id, "me", 30)
    clock.step_wall(-3600)
    assert store.claim(mine.id, "them", 30).holder == "them"


def test_an_action_is_not_claimed_across_an_effect(
    store: ActionStore, clock: ManualClock, ledger: Engine
) -> None:
    mine = store.claim(store.propose(action("a")).id, "me", 30)
    clock.advance(31)
    with (
        store.holding(mine, paused=lambda: False),
        pytest.raises(ConflictError, match="under way"),
    ):
        store.claim(mine.id, "them", 30)
    assert store.claim(mine.id, "them", 30).holder == "them"
    with pytest.raises(StaleToken), store.holding(mine, paused=lambda: False):
        pytest.fail("the effect came late")
    with exclusive(ledger, "effects on serving", 0.1):
        pass


def test_what_cannot_follow_is_refused(store: ActionStore, clock: ManualClock) -> None:
    one = store.propose(action("a"))
    with pytest.raises(ConflictError, match="cannot follow"):
        store.move(one, S.COMPLETED, "just so")
    with pytest.raises(ConflictError, match="begin"):
        store.move(one, S.INTENT, "just so")
    done = _completed(store, clock, "b", 0.1)
    with pytest.raises(ConflictError, match="has ended"):
        store.move(done, S.COMPLETED, "again")
    with pytest.raises(ConflictError, match="has ended"):
        store.claim(done.id, "me", 30)
    with pytest.raises(InputError, match="no action"):
        store.claim("action-none", "me", 30)


def test_links_can_be_noted_after_the_end(store: ActionStore, clock: ManualClock) -> None:
    done = _completed(store, clock, "a", 0.1)
    store.link(done.id, run_id="run-1", flow_run_id="flow-1")
    found = store.get(done.id)
    assert found == replace(done, run_id="run-1", flow_run_id="flow-1")


def test_pages_go_through_everything_once(store: ActionStore, clock: ManualClock) -> None:
    for number in range(7):
        store.propose(action(f"{number}", at=100.0 + number // 3, target=f"t{number % 2}"))
    for newest_first in (True, False):
        seen: list[str] = []
        after = None
        while page := store.list(limit=3, after=after, newest_first=newest_first):
            seen += [one.id for one in page]
            after = page[-1].id
        assert seen == sorted(seen, reverse=newest_first)
        assert len(seen) == 7
    assert [one.id for one in store.list(target="t1", newest_first=False)] == [
        "action-1",
        "action-3",
        "action-5",
    ]
    assert store.list([S.COMPLETED]) == []
    assert store.list([]) == []
    assert len(store.list([S.SCHEDULED], type="batch_inference")) == 7
    with pytest.raises(InputError, match="first page"):
        store.list(after="action-none")


def test_at_most_so_many_are_in_flight(store: ActionStore) -> None:
    limits = replace(NO_LIMITS, max_concurrent=2)
    waiting = [store.propose(action(n, target=n, goal=n)) for n in "abc"]
    running = [store.begin(one, limits) for one in waiting[:2]]
    with pytest.raises(ConflictError, match="max_concurrent_actions is 2"):
        store.begin(waiting[2], limits)
    store.move(running[0], S.FAILED, "nothing was changed")
    assert store.begin(waiting[2], limits).state is S.INTENT


def test_actions_that_share_something_do_not_run_together(store: ActionStore) -> None:
    store.begin(store.propose(action("a", target="t", goal="g")), NO_LIMITS)
    for name, target, goal, shared in (("b", "t", "h", "target:t"), ("c", "u", "g", "goal:g")):
        other = store.propose(action(name, target=target, goal=goal))
        with pytest.raises(ConflictError, match=shared):
            store.begin(other, NO_LIMITS)


def test_budgets_and_cooldown_hold(store: ActionStore, clock: ManualClock) -> None:
    limits = replace(NO_LIMITS, changes_per_hour=2, changes_per_day=3, cooldown_s=300)

    def run(name: str, target: str) -> None:
        one = store.propose(action(name, target=target, goal=target))
        store.move(store.begin(one, limits), S.FAILED, "nothing was changed")

    run("a", "t")
    with pytest.raises(ConflictError, match="cooldown is 300 s"):
        run("b", "t")
    clock.advance(300)
    run("b", "t")
    with pytest.raises(ConflictError, match="changes_per_hour is 2"):
        run("c", "u")
    clock.advance(3600)
    run("c", "u")
    clock.advance(3600)
    with pytest.raises(ConflictError, match="changes_per_day is 3"):
        run("d", "v")
    clock.advance(86_400)
    run("d", "v")


def test_nothing_starts_without_the_approval_it_needs(store: ActionStore) -> None:
    waiting = store.propose(action("a", S.WAITING_APPROVAL))
    with pytest.raises(ConflictError, match="no approval"):
        store.move(waiting, S.SCHEDULED, "just so")
    proposed = store.propose(replace(action("b", S.WAITING_APPROVAL), state=S.PROPOSED))
    with pytest.raises(ConflictError, match="no approval"):
        store.move(proposed, S.SCHEDULED, "just so")


def test_the_guard_stops_effects_but_not_putting_back(
    store: ActionStore, clock: ManualClock
) -> None:
    stopped: list[bool] = []
    one = store.claim(store.propose(action("a")).id, "me", 300)
    one = store.begin(one, NO_LIMITS, deadline_at=epoch(clock.now()) + 60)
    guard = store.guard(one, paused=lambda: bool(stopped))
    guard.check()
    stopped.append(True)
    with pytest.raises(ConflictError, match="paused"):
        guard.check()
    stopped.clear()
    clock.advance(60)
    with pytest.raises(ConflictError, match="deadline"):
        guard.check()
    stopped.append(True)
    one = store.move(one, S.ROLLING_BACK, "the time is over")
    guard.check()
    store.move(one, S.ROLLED_BACK, "as before")
    with pytest.raises(ConflictError, match="has ended"):
        guard.check()


def _race(url: str, name: str) -> None:
    store = ActionStore(open_ledger(url), SystemClock())
    limits = replace(NO_LIMITS, max_concurrent=3)
    for number in range(6):
        try:
            store.begin(store.claim(f"action-{number}", name, 60), limits)
        except ConflictError:
            continue


def test_processes_that_start_at_once_keep_the_limit(
    store: ActionStore, ledger: Engine, ledger_url: str
) -> None:
    for number in range(6):
        store.propose(action(f"{number}", target=f"t{number}", goal=f"g{number}"))
    ledger.dispose()
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_race, args=(ledger_url, f"p{n}")) for n in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert store.counts() == {S.INTENT: 3, S.SCHEDULED: 3}
