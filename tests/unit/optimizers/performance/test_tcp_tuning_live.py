"""Tuning acts, on real transfers over a lossy path: it helps, is undone, and steps aside."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.tcp_namespaces import CHALLENGER, Scene, all_knobs
from benchmarks.tcp_path import path_between
from benchmarks.tcp_traffic import receiving, sending
from config.clock import SystemClock
from config.settings import Settings
from optimizers.performance.tcp_tuning import TcpTuning
from optimizers.targets.network import NetworkTarget
from optimizers.targets.network_facts import NetworkFacts
from optimizers.targets.network_knobs import CONGESTION, RMEM, path_of
from registry.agent_records import ActionState, Proposal, Verdict
from tests.services.live_actions import LiveActions
from tests.services.processes import wait_until
from tests.unit.optimizers.performance.tcp_views import AT, proposals, seen


class Live:
    """Transfers between two namespaces, and the agent's hand on one of them."""

    def __init__(self, folder: Path, scene: Scene, namespace: str) -> None:
        self.scene = scene
        agent = {"verify_samples": 10, "verify_seconds": 7.0, "verify_alpha": 0.05}
        performance = {"tcp_tuning": {"namespaces": [namespace]}}
        settings = Settings.model_validate({"agent": agent, "performance": performance})
        self.namespace = namespace
        self.capability = TcpTuning(settings)
        self.target = NetworkTarget(SystemClock(), 50.0, namespace)
        self.hands = LiveActions(folder, self.capability, [self.target])

    def proposal(self, metric: str) -> Proposal:
        """What it would do, had it seen a limit for a while."""
        facts = self.target.observe(AT, 5.0).facts
        assert isinstance(facts, NetworkFacts)
        limited = seen({metric: 0.9}, facts, target=self.target.name)
        [proposal] = proposals(self.capability, limited)
        return proposal


@contextmanager
def transfers(scene: Scene, folder: Path) -> Iterator[None]:
    """Several short connections at a time, over a path with a round trip of 10 ms."""
    with (
        path_between(scene, delay_ms=5, mbit=100) as address,
        receiving(scene.receiver, folder) as received,
        sending(scene.sender, address, each_s=0.4, connections=4),
    ):
        wait_until(lambda: received.count() > 0, 30.0, "something to arrive")
        yield


@pytest.fixture
def live(tcp_scene: Scene, tmp_path: Path) -> Iterator[Live]:
    """The agent at a sender whose packets get lost."""
    tcp_scene.set_loss(0.1)
    made = Live(tmp_path, tcp_scene, tcp_scene.sender)
    facts = made.target.observe(AT, 5.0).facts
    assert isinstance(facts, NetworkFacts)
    if CHALLENGER not in facts.algorithms:
        pytest.skip(f"the kernel has no {CHALLENGER}")
    with transfers(tcp_scene, tmp_path):
        yield made
    made.hands.close()


def test_a_larger_buffer_is_tried_on_the_traffic_and_kept(tcp_scene: Scene, tmp_path: Path) -> None:
    tcp_scene.set_knob(tcp_scene.receiver, "net.ipv4.tcp_rmem", "4096 12000 12000")
    made = Live(tmp_path, tcp_scene, tcp_scene.receiver)
    with transfers(tcp_scene, tmp_path):
        done = made.hands.carry_out(made.proposal("receive_limited_share"))
    made.hands.close()
    assert done.effect is not None
    assert (done.state, done.effect.verdict) == (ActionState.COMPLETED, Verdict.IMPROVED)
    assert done.effect.gain is not None
    assert done.effect.gain > 0.5
    assert made.target.read(RMEM) == "4096\t12000\t6291456"


def test_paused_everything_is_put_back_to_the_byte(live: Live) -> None:
    before = all_knobs(live.scene.sender)
    found = []

    def stop() -> None:
        found.append(live.target.read(CONGESTION))
        live.hands.pause()

    live.hands.when("verifying", stop)
    done = live.hands.carry_out(live.proposal("retransmit_share"))
    assert done.state is ActionState.ROLLED_BACK
    assert found == [CHALLENGER]
    assert all_knobs(live.scene.sender) == before


def test_a_person_who_turns_the_knob_meanwhile_keeps_it(live: Live) -> None:
    name = str(path_of(CONGESTION)).removeprefix("/proc/sys/").replace("/", ".")
    live.hands.when("verifying", lambda: live.scene.set_knob(live.scene.sender, name, "reno"))
    done = live.hands.carry_out(live.proposal("retransmit_share"))
    assert done.state is ActionState.HANDED_OVER
    assert live.target.read(CONGESTION) == "reno"
    assert (live.target.name, CONGESTION) in live.hands.control.held()


def test_a_namespace_that_vanishes_meanwhile_ends_the_action(live: Live) -> None:
    live.capability.deadline_s = 1.0
    removal = ["ip", "netns", "del", live.scene.sender]
    live.hands.when("verifying", lambda: subprocess.run(removal, check=True))
    done = live.hands.carry_out(live.proposal("retransmit_share"))
    assert done.state is ActionState.HANDED_OVER
    assert f"no network namespace {live.scene.sender}" in done.reason or "in time" in done.reason
