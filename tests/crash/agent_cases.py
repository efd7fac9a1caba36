"""Every kind of action in every kind of world, and what must hold in it whatever is killed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pydantic import JsonValue

from registry.agent_records import Action, ActionState, Verdict
from registry.ledger.events import EventLog
from tests.crash.agent_world import ACTION, AFTER, BEFORE, KNOB, PERSONS, TARGET, AgentWorld, Case

_COMPLETED = frozenset({ActionState.COMPLETED})
_ROLLED_BACK = frozenset({ActionState.ROLLED_BACK})
_HANDED_OVER = frozenset({ActionState.HANDED_OVER})
_FAILED = frozenset({ActionState.FAILED})
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
    return Case(
        f"{kind}: {case.name}",
        case.ends,
        kind,
        case.verdict,
        case.worsened,
        case.trouble,
        case.at,
        case.rollback,
        case.lessons,
    )


CASES = (
    *_changes("atomic"),
    *_changes("plain"),
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
)

Lines = list[dict[str, JsonValue]]


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
    there, back = (BEFORE, AFTER, "intent"), (AFTER, BEFORE, "rolling_back")
    found = []
    if made not in ([], [there], [there, back]):
        found.append(f"it wrote {made}")
    found += _value(world, action, made)
    person = [at for at, line in enumerate(lines) if line["hand"] == "person"]
    if person:
        if person[-1] != len(lines) - 1:
            found.append("it wrote over what a person had set")
        held = (TARGET, KNOB) in world.control.held()
        if not held and action.state is ActionState.HANDED_OVER:
            found.append("it did not step aside for the person")
    return found


def _value(world: AgentWorld, action: Action, made: Sequence[tuple[JsonValue, ...]]) -> list[str]:
    wanted: JsonValue = AFTER
    if world.case.at[1] == "edit":
        wanted = PERSONS
    elif action.state in {ActionState.ROLLED_BACK, ActionState.EXPIRED}:
        wanted = BEFORE
    value = world.knobs.value()
    if value == wanted and (value != AFTER or len(made) == 1):
        return []
    return [f"it ended {action.state} with the knob at {value}"]


def _jobs(world: AgentWorld, action: Action) -> list[str]:
    lines = world.jobs.journal.lines()
    starts = [line for line in lines if line["did"] == "start"]
    cancels = [line for line in lines if line["did"] == "cancel"]
    found = []
    if [line["state"] for line in starts] not in ([], ["intent"]):
        found.append(f"it started {starts}")
    if any(line["state"] != "rolling_back" for line in cancels):
        found.append(f"it cancelled {cancels}")
    if action.state is ActionState.ROLLED_BACK and starts and not cancels:
        found.append("it left its job running")
    if action.state in {ActionState.COMPLETED, ActionState.FAILED} and not starts:
        found.append("it never started its job")
    return found
