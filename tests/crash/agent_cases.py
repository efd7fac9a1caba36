"""Every kind of action in every kind of world, and what must hold in it whatever is killed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from pydantic import JsonValue

from optimizers.capability import Sight
from registry.agent_records import Action, ActionState, Verdict
from registry.ledger.events import EventLog
from tests.crash.agent_world import ACTION, ORDER, AgentWorld
from tests.crash.toys import AFTER, BEFORE, KNOB, TARGET, Case

_COMPLETED = frozenset({ActionState.COMPLETED})
_ROLLED_BACK = frozenset({ActionState.ROLLED_BACK})
_HANDED_OVER = frozenset({ActionState.HANDED_OVER})
_FAILED = frozenset({ActionState.FAILED})
_SIMULATED = frozenset({ActionState.SIMULATED})
_GONE = frozenset({ActionState.EXPIRED, ActionState.HANDED_OVER})
_WORSE, _UNCLEAR, _NO_DATA = Verdict.WORSE, Verdict.INCONCLUSIVE, Verdict.NO_DATA
_GUARDS = ("error_rate",)


def _changes(kind: str) -> list[Case]:
    """The cases of a change that can be undone."""
    cases = [
        Case("improved", _COMPLETED),
        Case("worse", _ROLLED_BACK, verdict=_WORSE),
        Case("inconclusive", _ROLLED_BACK, verdict=_UNCLEAR),
        Case("no data", _ROLLED_BACK, verdict=_NO_DATA, lessons=0),
        Case("a guardrail got worse", _ROLLED_BACK, worsened=_GUARDS),
        Case("never decided", _ROLLED_BACK, verdict=None),
        Case("no writes taken", _ROLLED_BACK, trouble="deaf", lessons=0),
        Case("answers lost", _COMPLETED, trouble="lost"),
        Case("no way back", _HANDED_OVER, verdict=_WORSE, trouble="stuck"),
        Case("no true way back", _HANDED_OVER, verdict=_WORSE, trouble="sham"),
        Case("cannot be read", _HANDED_OVER, trouble="blind", lessons=0),
        Case("left worse", _FAILED, verdict=_WORSE, rollback=False),
        Case("edited before", _GONE, at=("looked", "edit"), lessons=0),
        Case("edited at once", _HANDED_OVER, at=("target written", "edit"), lessons=0),
        Case("edited later", _HANDED_OVER, at=("verifying", "edit"), lessons=0),
        Case("edited last", _HANDED_OVER, verdict=_WORSE, at=("rolling_back", "edit")),
        Case("paused early", _ROLLED_BACK, at=("intent", "pause"), lessons=0),
        Case("paused at once", _ROLLED_BACK, at=("target written", "pause"), lessons=0),
        Case("paused later", _ROLLED_BACK, at=("verifying", "pause"), lessons=0),
    ]
    return [_of(kind, case) for case in cases]


def _of(kind: str, case: Case) -> Case:
    return replace(case, name=f"{kind}: {case.name}", kind=kind)


def _in_pairs() -> list[Case]:
    """The cases of a change that is switched to and fro while it is measured."""
    cases = [
        Case("improved", _COMPLETED),
        Case("worse", _ROLLED_BACK, verdict=_WORSE),
        Case("never decided", _ROLLED_BACK, verdict=None),
        Case("answers lost", _COMPLETED, trouble="lost"),
        Case("no way back", _HANDED_OVER, trouble="stuck", lessons=0),
        Case("no true way back", _HANDED_OVER, trouble="sham", lessons=0),
        Case("left worse", _FAILED, verdict=_WORSE, rollback=False),
        Case("edited before a switch", _HANDED_OVER, at=("switching", "edit"), lessons=0),
        Case("edited after a switch", _HANDED_OVER, at=("switched", "edit"), lessons=0),
        Case("turned after a switch", _HANDED_OVER, at=("switched", "turn"), lessons=0),
        Case("turned last", _HANDED_OVER, verdict=_WORSE, at=("rolling_back", "turn")),
        Case("paused before a switch", _ROLLED_BACK, at=("switch noted", "pause"), lessons=0),
        Case("paused at a switch", _ROLLED_BACK, at=("switching", "pause"), lessons=0),
        Case("paused after a switch", _ROLLED_BACK, at=("switch done", "pause"), lessons=0),
        Case("paused last", _ROLLED_BACK, at=("judged", "pause")),
        Case(
            "paused, with rollback off",
            _ROLLED_BACK,
            at=("switched", "pause"),
            rollback=False,
            lessons=0,
        ),
        Case("plain", _COMPLETED, "plain"),
        Case("plain, edited", _HANDED_OVER, "plain", at=("switch done", "edit"), lessons=0),
    ]
    return [replace(case, name=f"pairs: {case.name}", pairs=True) for case in cases]


CASES = (
    *_changes("atomic"),
    *_changes("plain"),
    *_in_pairs(),
    Case("final: improved", _COMPLETED, "final"),
    Case("final: worse", _HANDED_OVER, "final", _WORSE),
    Case("final: edited", _HANDED_OVER, "final", at=("verifying", "edit"), lessons=0),
    Case("final: paused", _COMPLETED, "final", at=("verifying", "pause")),
    Case("job: done", _COMPLETED, "job"),
    Case("job: worse", _FAILED, "job", _WORSE),
    Case("job: never decided", _FAILED, "job", None),
    Case("job: hangs", _ROLLED_BACK, "job", trouble="hangs"),
    Case("job: cannot start", _ROLLED_BACK, "job", trouble="deaf", lessons=0),
    Case("job: answer lost", _COMPLETED, "job", trouble="lost"),
    Case("job: paused", _ROLLED_BACK, "job", trouble="hangs", at=("applied", "pause"), lessons=0),
    Case("job: simulated", _SIMULATED, "job", lessons=0, simulated=True),
    Case("atomic: simulated", _SIMULATED, lessons=0, simulated=True),
)

Write = tuple[JsonValue, ...]


def violations(world: AgentWorld) -> list[str]:
    """What is wrong with a world whose action had every chance to come to its end."""
    action = world.actions.get(ACTION)
    if action is None:
        return ["the action is lost"]
    found = _story(world, action) + _ending(world, action)
    found += _jobs(world, action) if world.case.is_job else _writes(world, action)
    return found


def _story(world: AgentWorld, action: Action) -> list[str]:
    found = []
    log = EventLog(world.engine, world.clock)
    if not log.verify().ok:
        found.append("the ledger's chain is broken")
    moves = [entry.body for entry in log.list(subject=ACTION, kind="action", limit=1000)]
    if any(one["to"] != other["from"] for one, other in pairwise(moves)):
        found.append("the story has a gap")
    if sum(move["from"] == "scheduled" and move["to"] == "intent" for move in moves) > 1:
        found.append("it was begun twice")
    if moves[-1]["to"] != action.state.value:
        found.append("the story does not end as the action does")
    if len(log.list(subject=ACTION, kind="learned")) != world.case.lessons:
        found.append("it was not learned from exactly once")
    learned = world.learning.all().get(("toy_change", TARGET))
    if (learned.successes + learned.failures if learned else 0) != world.case.lessons:
        found.append("what was learned does not add up")
    return found


def _ending(world: AgentWorld, action: Action) -> list[str]:
    found = []
    if action.state not in world.case.ends:
        found.append(f"it ended {action.state} ({action.reason})")
    if action.undo_failures >= 3:
        found.append(f"it was put back in vain {action.undo_failures} times")
    if action.holder is not None:
        found.append("it is still held")
    good = action.effect is not None and action.effect.verdict is Verdict.IMPROVED
    if action.state is ActionState.COMPLETED and not (good and not world.case.worsened):
        found.append("it was kept without having improved anything")
    if action.executed_at is not None:
        published = {str(line["state"]) for line in world.published.lines()}
        if published != {action.state.value} or action.run_id is None:
            found.append(f"it was published as {published}")
    return found


def _writes(world: AgentWorld, action: Action) -> list[str]:
    lines = world.knobs.journal.lines()
    ours = [line for line in lines if line["hand"] == "agent"]
    made = [(line["before"], line["after"], line["state"]) for line in ours]
    found = []
    if not _as_noted(world, action, made) or (world.case.simulated and made):
        found.append(f"it wrote {made}")
    found += _value(world, action) + _samples(world, action)
    held = (TARGET, KNOB) in world.control.held()
    person = [at for at, line in enumerate(lines) if line["hand"] == "person"]
    if person:
        if person[-1] != len(lines) - 1:
            found.append("it wrote over what a person had set")
        if not held and action.state is ActionState.HANDED_OVER:
            found.append("it did not step aside for the person")
    elif held:
        found.append("it stepped aside for nobody")
    return found


def _as_noted(world: AgentWorld, action: Action, made: Sequence[Write]) -> bool:
    """Whether each write was the next one, and the ledger knew of it beforehand."""
    wanted: list[Write] = [(BEFORE, AFTER, "intent")]
    if world.case.pairs:
        sides = [*_halves(world), AFTER]  # what stays is switched on again in the end
        for before, after in pairwise([AFTER, *sides]):
            side = Sight.AFTER if after == AFTER else Sight.BEFORE
            wanted += [(before, after, f"to {side}")] if before != after else []
    back = (AFTER, BEFORE, "rolling_back")
    last = len(made) - 1 if back in made else len(made)
    if list(made[:last]) != wanted[:last] or list(made[last:]) not in ([], [back]):
        return False
    return action.state is not ActionState.COMPLETED or len(made) == len(wanted)


def _halves(world: AgentWorld) -> Sequence[int]:
    """The sides at which the action is measured, one after the other."""
    if world.case.verdict is not None:
        return ORDER
    rng = random.Random(ACTION)
    coins = [rng.random() < 0.5 for _ in range(1000)]
    return [side for coin in coins for side in ((AFTER, BEFORE) if coin else (BEFORE, AFTER))]


def _samples(world: AgentWorld, action: Action) -> list[str]:
    """Every sample in pairs was taken at its side, and nothing but that."""
    noted = {key: value for key, value in action.progress.items() if key[-1].isdigit()}
    wanted = {"before": {"toy_ms": BEFORE}, "after": {"toy_ms": AFTER}}
    found = [
        f"its sample {key} is {value}"
        for key, value in noted.items()
        if value != wanted[key.split()[0]]
    ]
    judged = action.effect is not None and world.case.verdict is not None
    if world.case.pairs and judged and len(noted) != len(ORDER):
        found.append(f"it was judged by {len(noted)} samples")
    return found


def _value(world: AgentWorld, action: Action) -> list[str]:
    wanted: JsonValue = AFTER
    persons = [line for line in world.knobs.journal.lines() if line["hand"] == "person"]
    if persons:
        wanted = persons[-1]["after"]
    elif action.state in {ActionState.ROLLED_BACK, ActionState.EXPIRED, ActionState.SIMULATED}:
        wanted = BEFORE
    value = world.knobs.value()
    if value == wanted:
        return []
    return [f"it ended {action.state} with the knob at {value}"]


def _jobs(world: AgentWorld, action: Action) -> list[str]:
    lines = world.jobs.journal.lines()
    starts = [line for line in lines if line["did"] == "start"]
    cancels = [line for line in lines if line["did"] == "cancel"]
    found = []
    begun = [line["state"] for line in starts]
    if begun not in ([], ["intent"]) or (world.case.simulated and begun):
        found.append(f"it started {starts}")
    if any(line["state"] != "rolling_back" for line in cancels):
        found.append(f"it cancelled {cancels}")
    if action.state is ActionState.ROLLED_BACK and starts and not cancels:
        found.append("it left its job running")
    if action.state in {ActionState.COMPLETED, ActionState.FAILED} and not starts:
        found.append("it never started its job")
    return found
