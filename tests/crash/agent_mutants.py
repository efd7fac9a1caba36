"""Prime Spark with one of its guards taken out, each to be found out by the crash schedules.

A mutant is a change of the source text, made in a forked process only; if the text is no longer
there, the mutant has to be written anew, and says so.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from registry import agent_actions
from tests.crash import agent_world
from tests.crash.agent_cases import CASES
from tests.crash.agent_schedules import SHORT_WAIT_S, Bench, Schedule, bench
from tests.crash.toys import Case

_FOUND, _SURVIVED, _NOT_MADE = 10, 11, 12

# Each is loaded anew after a mutation of one before it, for it may hold names of it.
_MODULES = (
    "registry.agent_guard",
    "registry.agent_moves",
    "registry.agent_limits",
    "registry.agent_actions",
    "registry.agent_learning",
    "optimizers.switching",
    "optimizers.knob_samples",
    "optimizers.knob_effects",
    "optimizers.execution_desk",
    "optimizers.execution_end",
    "optimizers.execution_steps",
    "optimizers.execution",
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard less: in a module, a text is replaced by another.

    Attributes:
        cases: how the names of the cases begin that are tried.
        killed: tried first: a process is killed at this point.
        takeover: tried first: a process is stopped just before it comes to the first point, and its
            successor is killed at the second.
    """

    name: str
    module: str
    old: str
    new: str
    cases: tuple[str, ...]
    killed: str = ""
    takeover: tuple[str, str] | None = None


_MOVES, _GUARD, _ACTIONS = "registry.agent_moves", "registry.agent_guard", "registry.agent_actions"
STEPS, END, DESK = (
    "optimizers.execution_steps",
    "optimizers.execution_end",
    "optimizers.execution_desk",
)

MUTANTS = (
    Mutant(
        "no intent before the effect",
        STEPS,
        "    try:\n        begun = desk.actions.begin(",
        "    guard = desk.actions.guard(action, paused=desk.paused)\n"
        "    hands.effects.apply(action, guard, desk.tools)\n"
        "    try:\n        begun = desk.actions.begin(",
        ("atomic: improved", "job: done"),
    ),
    Mutant(
        "moves without compare-and-set",
        _ACTIONS,
        "            found = expected_action(connection, action)\n            return self._moved",
        "            found = replace(locked_action(connection, action.id), state=action.state)\n"
        "            return self._moved",
        ("atomic: worse",),
    ),
    Mutant(
        "no new token for a new holder",
        _ACTIONS,
        "found.token + 1",
        "found.token",
        ("job: done",),
        takeover=("applying", "job started"),
    ),
    Mutant(
        "no token at the effect",
        _GUARD,
        "if row.token != self._action.token:",
        "if False:",
        ("job: done",),
        takeover=("applying", "job started"),
    ),
    Mutant(
        "no lock across an effect",
        _ACTIONS,
        "        with exclusive(self._engine, _effects_on(action), timeout_s):",
        "        if True:",
        ("plain: improved",),
        takeover=("target written", "never"),
    ),
    Mutant(
        "an effect's guard is not asked",
        _GUARD,
        "        with reading(self._engine) as connection:\n"
        "            self.check_within(connection)",
        "        return",
        ("job: done",),
        takeover=("applying", "job started"),
    ),
    Mutant(
        "recovery without reading",
        STEPS,
        "if seen is not None and seen.sight is not Sight.BEFORE:",
        "if False:",
        ("job: done",),
        killed="job started",
    ),
    Mutant(
        "recovery takes the effect for granted",
        STEPS,
        "if seen is not None and seen.sight is not Sight.BEFORE:",
        'if seen is not None and action.progress.get("prepared"):',
        ("atomic: improved",),
    ),
    Mutant(
        "no drift check at all",
        "optimizers.knob_effects",
        "Sight.BEFORE if value == change.before else Sight.OTHER",
        "Sight.BEFORE",
        ("atomic: edited", "plain: edited"),
    ),
    Mutant(
        "no drift check while verifying",
        STEPS,
        "    return sight is not Sight.UNDER_WAY and sight not in standing_of(action).sights",
        "    return False",
        ("atomic: edited", "final: edited"),
    ),
    Mutant(
        "no drift check before undoing",
        STEPS,
        "return sight is Sight.OTHER or (put_back and sight is Sight.AFTER)",
        "return False",
        ("atomic: edited", "plain: edited"),
    ),
    Mutant(
        "no stepping aside",
        END,
        "    desk.control.hold_knob("
        "action.proposal.target, change.knob, reason, found_by=action)\n",
        "",
        ("atomic: edited",),
    ),
    Mutant(
        "inconclusive passes",
        END,
        "good = effect.verdict is Verdict.IMPROVED and",
        "good = effect.verdict in {Verdict.IMPROVED, Verdict.INCONCLUSIVE} and",
        ("atomic: inconclusive",),
    ),
    Mutant(
        "no data passes",
        END,
        "good = effect.verdict is Verdict.IMPROVED and",
        "good = effect.verdict is not Verdict.WORSE and",
        ("atomic: no data",),
    ),
    Mutant(
        "guardrails are not looked at",
        END,
        "IMPROVED and not effect.worsened",
        "IMPROVED",
        ("atomic: a guardrail",),
    ),
    Mutant(
        "a lost answer counts as no effect",
        STEPS,
        "        return _failed_attempt(hands, applied.trouble)",
        "        return finish(hands.desk, hands.action, ActionState.FAILED, applied.trouble)",
        ("atomic: answers", "job: answer"),
    ),
    Mutant(
        "undone without reading it back",
        STEPS,
        "    if seen.sight is Sight.BEFORE or action.proposal.change is None:",
        "    if True:",
        ("atomic: no true", "plain: no true"),
    ),
    Mutant(
        "undone to another value",
        "optimizers.knob_effects",
        "before=change.after, after=change.before)",
        "before=change.after, after=0 if action.effect else change.before)",
        ("atomic: worse", "plain: worse"),
    ),
    Mutant(
        "undoing is tried for ever",
        STEPS,
        "    if failures >= _MOST_FAILURES:\n        return hand_over",
        "    if False:\n        return hand_over",
        ("atomic: no way", "plain: no way"),
    ),
    Mutant(
        "what cannot be undone is undone",
        END,
        "    return action.proposal.reversible and",
        "    return",
        ("final",),
    ),
    Mutant(
        "a pause does not reach what is in flight",
        STEPS,
        "    if desk.paused() and _can_be_stopped",
        "    if False and _can_be_stopped",
        ("atomic: paused", "job: paused"),
    ),
    Mutant(
        "simulation is not asked about",
        STEPS,
        "    if desk.settings.safety.simulation_mode:\n",
        "    if False:\n",
        ("atomic: simulated", "job: simulated"),
    ),
    Mutant(
        "no deadline",
        DESK,
        "return action.deadline_at is not None and self.now >= action.deadline_at",
        "return False",
        ("atomic: never", "job: hangs"),
    ),
    Mutant(
        "learned from more than once",
        "registry.agent_learning",
        "            if _is_known(connection, action.id):\n                return False\n",
        "",
        ("atomic: improved", "job: done"),
    ),
    Mutant(
        "learned from after the end",
        END,
        "    _learn(desk, action)\n",
        "",
        ("atomic: improved", "job: done"),
    ),
)


def is_found(mutant: Mutant, tries: int) -> bool:
    """Whether a violation shows up within so many schedules."""
    child = os.fork()
    if child == 0:
        code = _NOT_MADE
        try:
            code = _hunt(mutant, tries)
        except BaseException:  # noqa: BLE001 - the exit code tells the parent, the traceback a person
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {_FOUND, _SURVIVED}, f"{mutant.name}: it could not be made"
    return code == _FOUND


def _hunt(mutant: Mutant, tries: int) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its processes may break, each with a traceback
    cases = [case for case in CASES if case.name.startswith(mutant.cases)]
    with bench() as place:
        for case in cases:
            place.points(case)
        _make(mutant)
        for _, found in zip(range(tries), _schedules(place, cases, mutant), strict=False):
            if found:
                return _FOUND
    return _SURVIVED


def _schedules(place: Bench, cases: list[Case], mutant: Mutant) -> Iterator[list[str]]:
    """What is wrong after each schedule: undisturbed ones first, then killed and stopped ones."""
    for case in cases:
        yield place.kill(Schedule(case))
        if mutant.killed:
            yield place.kill(Schedule(case, (mutant.killed,)))
        if mutant.takeover is not None:
            before, kill = mutant.takeover
            yield place.stop(case, place.points(case).index(before), kill)
    rng = random.Random(20250601)
    while True:
        case = rng.choice(cases)
        first, second = (rng.randint(1, len(place.points(case))) for _ in range(2))
        yield place.kill(Schedule(case, (first,)))
        yield place.stop(case, first)
        yield place.stop(case, first, second)


def _make(mutant: Mutant) -> None:
    names = _MODULES[_MODULES.index(mutant.module) :]
    for name in names:
        module = import_module(name)
        path = Path(str(module.__file__))
        source = path.read_text()
        if name == mutant.module:
            assert source.count(mutant.old) == 1, f"{mutant.name}: its text is not there once"
            source = source.replace(mutant.old, mutant.new)
        exec(compile(source, str(path), "exec"), module.__dict__)
    setattr(agent_actions, "_EFFECT_WAIT_S", SHORT_WAIT_S)  # noqa: B010 - a private name
    effects = import_module("optimizers.knob_effects").KnobEffects
    agent_world.ScriptedKnob.__bases__ = agent_world.ScriptedPairs.__bases__ = (effects,)
