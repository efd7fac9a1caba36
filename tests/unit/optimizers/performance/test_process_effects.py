"""Reallocation acts, on real processes: it helps, is undone exactly, and steps aside."""

# ruff: noqa: ARG002 - the seams name the arguments

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.performance_settings import ProcessSettings
from config.settings import AgentSettings, Settings
from optimizers.capability import Capability, Effects, Prior
from optimizers.performance.process_effects import ProcessEffects
from optimizers.performance.resource_reallocation import ResourceReallocation
from optimizers.targets.processes import ProcessesTarget
from optimizers.testing import check_knob_action
from optimizers.view import View
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Direction,
    Finding,
    Goal,
    Observation,
    Proposal,
    Verdict,
)
from registry.goals import measure_goals
from tests.services.agent_samples import proposal
from tests.services.busy_programs import BUSY, IDLE, V1, crowd_of_cgroups, join, mark, program
from tests.services.latency_probe import PROBE, ProbeTarget
from tests.services.live_actions import LiveActions
from tests.services.processes import wait_until


class Reallocating:
    """Only its effects are of interest here."""

    type = "resource_reallocation"
    target = "processes"
    prior = Prior(0.12, 0.4)
    deadline_s = 60.0

    def __init__(self, pairs: int = 2) -> None:
        self.effects: Effects = ProcessEffects(
            samples=pairs, every_s=0.2, alpha=0.05, pairs=True, switch_settle_s=0.02
        )

    def detect(self, view: object) -> list[Finding]:
        return []

    def propose(self, finding: Finding, view: object) -> list[Proposal]:
        return []


def change_of(knob: str, before: object, after: object) -> Proposal:
    return proposal(
        type="resource_reallocation",
        target="processes",
        change=Change(knob, before, after),  # type: ignore[arg-type]
        goal_metric="inference_latency_ms@serving",
        goal_direction=Direction.MINIMIZE,
        guardrails=(),
        reversible=True,
    )


class Scene:
    """A hog and a latency probe on one core, each in a cgroup of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.marked = mark()
        self.hogs: list[subprocess.Popen[bytes]] = []
        self.cgroup, probes = stack.enter_context(crowd_of_cgroups("hog", "probe"))
        self._core = max(os.sched_getaffinity(0))
        probing, group = mark(), str(self.cgroup.relative_to(V1 / "cpu"))
        named = [
            ProcessSettings(name="hog", command=self.marked, cgroup=group),
            ProcessSettings(name="probe", command=probing),
        ]
        self.processes = ProcessesTarget(named, SystemClock())
        self.probe = self._probe(probes, probing)

    def hog(self, code: str = BUSY) -> subprocess.Popen[bytes]:
        one = self.stack.enter_context(program(code, self.marked))
        os.sched_setaffinity(one.pid, {self._core})
        join(self.cgroup, one.pid)
        self.hogs.append(one)
        return one

    def run(
        self,
        proposed: Proposal,
        capability: Capability,
        at: Mapping[str, Callable[[], object]] | None = None,
    ) -> tuple[Action, LiveActions]:
        live = LiveActions(self.folder, capability, [self.processes, self.probe], at)
        self.stack.callback(live.close)
        return live.carry_out(proposed), live

    def _probe(self, cgroup: Path, marked: str) -> ProbeTarget:
        """The probe counts as the predictor, whose name stands in its command line."""
        file = self.folder / "probe"
        file.write_text("0 0")
        arguments = ("0.02", "0.005", str(file), "serving.service:Predictor")
        one = self.stack.enter_context(program(PROBE, marked, *arguments))
        os.sched_setaffinity(one.pid, {self._core})
        join(cgroup, one.pid)
        wait_until(lambda: file.read_text() != "0 0", 10.0, "the probe's first number")
        return ProbeTarget(file)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def shares(scene: Scene) -> str:
    return (scene.cgroup / "cpu.shares").read_text().strip()


def seen_by_the_agent(scene: Scene) -> View:
    """Four looks at what really runs, as if half a minute lay between them."""
    history: dict[tuple[str, str], list[Observation]] = {}
    for at in (0.0, 30.0, 60.0, 90.0):
        for target in (scene.processes, scene.probe):
            observed = target.observe(at, 5.0)
            for one in observed.observations:
                history.setdefault((one.target, one.metric), []).append(one)
        time.sleep(0.4)
    goal = Goal("latency", "inference_latency_ms", 22.0, Direction.MINIMIZE)
    facts = {"processes": scene.processes.observe(90.0, 5.0).facts}
    goals = measure_goals([goal], history, 90.0)
    return View(at=90.0, history=history, goals=goals, facts=facts)


def test_it_finds_the_hog_takes_from_it_and_keeps_what_helped(scene: Scene) -> None:
    scene.hog()
    agent = AgentSettings(verify_samples=10, verify_seconds=5.0, verify_alpha=0.05)
    capability = ResourceReallocation(Settings(agent=agent))
    view = seen_by_the_agent(scene)
    [finding] = capability.detect(view)
    assert "probe waits for a core" in finding.text
    [proposal] = capability.propose(finding, view)
    assert proposal.change == Change("cpu_weight:hog", 1024, 102)
    done, _ = scene.run(proposal, capability)
    assert done.effect is not None, done.reason
    assert done.effect.verdict is Verdict.IMPROVED, done.effect.reason
    assert done.state is ActionState.COMPLETED
    assert shares(scene) == "102"


def test_more_weight_for_a_hog_is_no_help_and_is_undone(scene: Scene) -> None:
    scene.hog()
    done, _ = scene.run(change_of("cpu_weight:hog", 1024, 4096), Reallocating(7))
    assert done.state is ActionState.ROLLED_BACK
    assert done.effect is not None
    assert done.effect.verdict in {Verdict.WORSE, Verdict.INCONCLUSIVE}
    assert shares(scene) == "1024"


def test_the_conformance_kit_passes_on_a_real_process(scene: Scene) -> None:
    scene.hog(IDLE)
    effects = Reallocating().effects
    check_knob_action(effects, change_of("nice:hog", 0, 10), scene.processes, stranger=4)
    weight = change_of("cpu_weight:hog", 1024, 102)
    check_knob_action(effects, weight, scene.processes, stranger=500)


def test_a_persons_renice_wins(scene: Scene) -> None:
    hog = scene.hog(IDLE)
    at = {"verifying": lambda: os.setpriority(os.PRIO_PROCESS, hog.pid, 3)}
    done, live = scene.run(change_of("nice:hog", 0, 10), Reallocating(), at)
    assert done.state is ActionState.HANDED_OVER
    assert os.getpriority(os.PRIO_PROCESS, hog.pid) == 3
    assert ("processes", "nice:hog") in live.control.held()


@pytest.mark.parametrize("point", ["prepared", "applied", "verifying", "switch noted"])
def test_with_its_last_process_a_change_is_over(scene: Scene, point: str) -> None:
    hog = scene.hog(IDLE)

    def kill() -> None:
        hog.send_signal(signal.SIGKILL)
        hog.wait()

    done, live = scene.run(change_of("nice:hog", 0, 10), Reallocating(), {point: kill})
    assert done.state is ActionState.ROLLED_BACK, done.reason
    assert live.control.held() == {}


def test_one_of_two_that_ends_or_comes_is_nobodys_edit(scene: Scene) -> None:
    scene.hog(IDLE)
    second = scene.hog(IDLE)

    def turn_over() -> None:
        second.kill()
        second.wait()
        scene.hog(IDLE)

    done, live = scene.run(change_of("nice:hog", 0, 10), Reallocating(), {"verifying": turn_over})
    assert live.control.held() == {}
    # Nothing competes here, so it cannot have helped.
    assert done.state is ActionState.ROLLED_BACK
    assert {os.getpriority(os.PRIO_PROCESS, one) for one in scene.processes.pids("hog")} == {0}
