"""One capability in the foreground: the world is better afterwards, or as it was before."""

# ruff: noqa: ARG002 - the seams name their arguments

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import JsonValue

from config.clock import ManualClock
from config.errors import InputError
from config.ids import SeededIds
from config.loader import load_settings
from flows.context import Context
from flows.resident.tuning import Tuned, tune
from flows.resident.world import AgentWorld
from optimizers.capability import Effects, Prior
from optimizers.knob_effects import KnobEffects
from optimizers.plugins import Installed
from optimizers.targets.base import Guard, Observed
from optimizers.view import View
from registry.agent_records import (
    ActionState,
    Change,
    Direction,
    Estimate,
    Finding,
    Observation,
    Priority,
    Proposal,
    Severity,
)


class Oven:
    """A target that wastes less the hotter it is; `best` says at which heat it wastes least."""

    name = "oven"

    def __init__(self, best: int) -> None:
        self.heat = 1
        self._best = best
        self._noise = random.Random(3)

    def observe(self, at: float, timeout_s: float) -> Observed:
        waste = 10.0 + 5.0 * abs(self._best - self.heat) + self._noise.gauss(0.0, 0.1)
        return Observed((Observation("oven", "waste", waste, at),))

    def knobs(self) -> Sequence[str]:
        return ("heat",)

    def read(self, knob: str) -> JsonValue:
        return self.heat

    def write(self, change: Change, guard: Guard) -> None:
        guard.check()
        assert self.heat in (change.before, change.after)
        assert isinstance(change.after, int)
        self.heat = change.after


class Hotter:
    """Always wants the oven at 4."""

    type = "oven_heat"
    target = "oven"
    prior = Prior(0.2, 0.2)
    deadline_s = 600.0

    def __init__(self) -> None:
        self.effects: Effects = KnobEffects(samples=12, every_s=1.0)

    def detect(self, view: View) -> Sequence[Finding]:
        seen = view.last("oven", "waste")
        if seen is None or seen.value < 12.0:
            return []
        text = f"the oven wastes {seen.value:.1f}"
        return [Finding("waste", "oven_heat", "oven", "", Severity.WARNING, text, view.at)]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        return [
            Proposal(
                type=self.type,
                target="oven",
                advice_id="hotter",
                key="hotter",
                priority=Priority.HIGH,
                description="Heat the oven to 4",
                parameters={},
                expected=Estimate(0.2, 0.0, 0.4),
                risk=0.2,
                goal_metric="waste",
                goal_direction=Direction.MINIMIZE,
                reversible=True,
                change=Change("heat", 1, 4),
                finding_ids=(finding.id,),
            )
        ]


class Kitchen:
    """A world with one oven and one capability; what is said is kept."""

    def __init__(self, home: Path, clock: ManualClock, best: int, **settings: str) -> None:
        variables = {"PRIME_SPARK_HOME": str(home)} | settings
        self.clock = clock
        self.oven = Oven(best)
        self.said: list[str] = []
        self.world = AgentWorld(Context(load_settings(environ=variables), clock, SeededIds(1)))
        vars(self.world)["installed"] = Installed({"oven": self.oven}, {"oven_heat": Hotter()}, {})

    def tune(self, kind: str = "oven_heat") -> Tuned:
        """One go."""
        return tune(self.world, kind, 3, 5.0, wait=self.clock.advance, say=self.said.append)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def kitchen(home: Path, clock: ManualClock) -> Iterator[Kitchen]:
    made = Kitchen(home, clock, best=4)
    yield made
    made.world.close()


def test_what_helps_is_kept_and_stands_in_the_ledger(kitchen: Kitchen) -> None:
    tuned = kitchen.tune()
    (action,) = tuned.actions
    assert (action.state, kitchen.oven.heat) == (ActionState.COMPLETED, 4)
    assert action.effect is not None
    assert action.effect.gain == pytest.approx(0.6, abs=0.05)
    assert tuned.helped
    kept = kitchen.world.stores.actions.get(action.id)
    assert kept is not None
    assert kept.state is ActionState.COMPLETED
    assert any("the oven wastes" in one for one in kitchen.said)


def test_what_does_not_help_is_put_back(home: Path, clock: ManualClock) -> None:
    kitchen = Kitchen(home, clock, best=2)  # 4 is as far from it as it could be worse
    tuned = kitchen.tune()
    assert [one.state for one in tuned.actions] == [ActionState.ROLLED_BACK]
    assert kitchen.oven.heat == 1
    assert not tuned.helped
    kitchen.world.close()


def test_nothing_is_done_without_a_cause(home: Path, clock: ManualClock) -> None:
    kitchen = Kitchen(home, clock, best=1)
    tuned = kitchen.tune()
    assert (tuned.findings, tuned.actions, kitchen.oven.heat) == ((), (), 1)
    kitchen.world.close()


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("SAFETY__SIMULATION_MODE", "true", ActionState.SIMULATED),
        ("SAFETY__ENABLE_AUTOMATIC_ACTIONS", "false", ActionState.WAITING_APPROVAL),
    ],
)
def test_the_agent_s_rules_hold_here_too(
    home: Path, clock: ManualClock, name: str, value: str, state: ActionState
) -> None:
    kitchen = Kitchen(home, clock, best=4, **{f"PRIME_SPARK_{name}": value})
    assert [one.state for one in kitchen.tune().actions] == [state]
    assert kitchen.oven.heat == 1
    kitchen.world.close()


def test_a_paused_agent_begins_nothing(kitchen: Kitchen) -> None:
    kitchen.world.stores.control.pause("Ada", "a test")
    assert [one.state for one in kitchen.tune().actions] == [ActionState.SCHEDULED]
    assert kitchen.oven.heat == 1


def test_an_unknown_type_is_told_with_those_there_are(kitchen: Kitchen) -> None:
    with pytest.raises(InputError, match="no capability 'bread' in use; there are oven_heat"):
        kitchen.tune("bread")
