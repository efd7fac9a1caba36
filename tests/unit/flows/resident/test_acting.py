"""Carrying an action out in one process: to its end, cut off, cancelled, or left to another."""

# ruff: noqa: ARG002 - the seams name their arguments

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import JsonValue

from config.clock import SystemClock, epoch
from config.errors import InputError
from config.ids import SeededIds
from config.loader import load_settings
from flows.context import Context
from flows.resident.acting import carry_out, sample, undo_cancelled
from flows.resident.world import AgentWorld
from optimizers.capability import Seen, Sight, Tools
from optimizers.plugins import Installed
from optimizers.targets.base import Guard, Observed, ObserveOnly
from registry.agent_records import Action, ActionState, Effect, Observation, Verdict
from tests.services.agent_samples import SampleCapability, action, proposal
from tests.services.processes import wait_until


class Switch:
    """Effects on one switch; `verdict` says whether it helped, or that nobody knows yet."""

    def __init__(self) -> None:
        self.on = False
        self.verdict: Verdict | None = Verdict.IMPROVED

    def look(self, action: Action, tools: Tools) -> Seen:
        return Seen(Sight.AFTER if self.on else Sight.BEFORE)

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        guard.check()
        self.on = True
        return {}

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        return Effect(self.verdict, "as told", gain=0.1) if self.verdict is not None else None

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        guard.check()
        self.on = False


class Stopped(Exception):
    """Stands for the signal that ends a flow run's process."""


class Scene:
    """A world with a switch, and one scheduled action on it."""

    def __init__(self, home: Path) -> None:
        variables = {"PRIME_SPARK_HOME": str(home), "PRIME_SPARK_AGENT__SETTLE_SECONDS": "0"}
        clock = SystemClock()
        context = Context(load_settings(environ=variables), clock, SeededIds(1))
        self.world = AgentWorld(context)
        self.switch = Switch()
        capability = SampleCapability([], effects=self.switch)
        vars(self.world)["installed"] = Installed({}, {capability.type: capability}, {})
        at = epoch(clock.now())
        self.id = self.world.stores.actions.propose(
            action(proposal(), created_at=at, updated_at=at)
        ).id


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "home")
    yield made
    made.world.close()


def test_an_action_that_helps_is_kept(scene: Scene) -> None:
    ended = carry_out(scene.world, scene.id, holder="run-1")
    assert ended.state is ActionState.COMPLETED
    assert scene.switch.on


def test_an_action_that_does_not_is_put_back(scene: Scene) -> None:
    scene.switch.verdict = Verdict.WORSE
    ended = carry_out(scene.world, scene.id, holder="run-1")
    assert ended.state is ActionState.ROLLED_BACK
    assert not scene.switch.on


def cut_off(scene: Scene) -> None:
    """Stop the process of the action while it verifies."""

    def stop(seconds: float) -> None:
        raise Stopped

    scene.switch.verdict = None
    with pytest.raises(Stopped):
        carry_out(scene.world, scene.id, holder="run-1", wait=stop)
    assert scene.switch.on


def test_the_next_process_goes_on_with_what_was_cut_off(scene: Scene) -> None:
    cut_off(scene)
    scene.switch.verdict = Verdict.IMPROVED
    assert carry_out(scene.world, scene.id, holder="run-2").state is ActionState.COMPLETED


def test_a_person_who_cancels_has_it_undone(scene: Scene) -> None:
    cut_off(scene)
    ended = undo_cancelled(scene.world, scene.id, holder="run-1")
    assert ended.state is ActionState.ROLLED_BACK
    assert not scene.switch.on
    told = [str(one.body) for one in scene.world.stores.actions.stories(scene.id)]
    assert any("a person cancelled" in one for one in told)


def test_a_pause_has_what_is_in_flight_put_back_at_once(scene: Scene) -> None:
    scene.switch.verdict = None
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(carry_out, scene.world, scene.id, holder="run-1")
        wait_until(lambda: scene.switch.on, 10.0, "it is applied")
        begun = time.monotonic()
        scene.world.stores.control.pause("Ada", "stop")
        wait_until(lambda: not scene.switch.on, 10.0, "it is put back")
        took = time.monotonic() - begun
        assert under_way.result(10.0).state is ActionState.ROLLED_BACK
    # It looks twice a second; the rest is for a machine that has other work.
    assert took < 3.0


def test_cancelled_before_it_began_it_is_rejected(scene: Scene) -> None:
    ended = undo_cancelled(scene.world, scene.id, holder="run-1")
    assert ended.state is ActionState.REJECTED
    assert not scene.switch.on


def test_what_another_process_is_at_work_on_is_left_to_it(scene: Scene) -> None:
    scene.world.stores.actions.claim(scene.id, "run-2", 30.0)
    assert carry_out(scene.world, scene.id, holder="run-1").state is ActionState.SCHEDULED
    assert not scene.switch.on


def test_an_unknown_action_is_a_clear_error(scene: Scene) -> None:
    with pytest.raises(InputError, match="there is no action action-9"):
        carry_out(scene.world, "action-9", holder="run-1")


class Gauge(ObserveOnly):
    """A target with the observations it is given."""

    def __init__(self, *values: tuple[float, tuple[tuple[str, str], ...]]) -> None:
        self.name = "gauge"
        self._values = values

    def observe(self, at: float, timeout_s: float) -> Observed:
        return Observed(
            tuple(Observation("gauge", "load", value, at, "", of) for value, of in self._values)
        )


_A, _B = (("model", "a"),), (("model", "b"),)


@pytest.mark.parametrize(
    ("gauge", "value"),
    [
        (Gauge((1.0, _A), (2.0, ())), 2.0),
        (Gauge((1.0, _A)), 1.0),
        (Gauge((1.0, _A), (2.0, _B)), None),
        (Gauge(), None),
    ],
    ids=["the whole target's", "its only one", "of several, none", "missing is missing"],
)
def test_a_metric_s_present_value(scene: Scene, gauge: Gauge, value: float | None) -> None:
    vars(scene.world)["targets"] = {"gauge": gauge}
    found = sample(scene.world, "gauge", ["load", "heat"])
    assert found == ({"load": value} if value is not None else {})
    assert sample(scene.world, "another", ["load"]) == {}


def test_labels_pick_one_of_several_series(scene: Scene) -> None:
    versions = [(*_A, ("version", one)) for one in "12"]
    gauge = Gauge((9.0, ()), (1.0, _A), (2.0, _B), (3.0, versions[0]), (4.0, versions[1]))
    vars(scene.world)["targets"] = {"gauge": gauge}
    names = [
        'load{model="a"}',
        'load{version="2",model="a"}',
        'load{version="1"}',
        'load{model="c"}',
    ]
    assert sample(scene.world, "gauge", names) == dict(zip(names, (1.0, 4.0, 3.0), strict=False))
    vars(scene.world)["targets"] = {"gauge": Gauge((3.0, versions[0]), (4.0, versions[1]))}
    assert sample(scene.world, "gauge", ['load{model="a"}']) == {}
