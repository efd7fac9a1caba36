"""The network target on real namespaces of the kernel."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.tcp_namespaces import Scene, all_knobs, inside
from benchmarks.tcp_traffic import receiving, sending
from config.clock import SystemClock
from config.errors import ConfigError, ConflictError, InputError, UnavailableError
from config.settings import Settings
from optimizers.plugins import PluginContext
from optimizers.targets import network_counters, network_knobs
from optimizers.targets.base import Target
from optimizers.targets.network import NetworkTarget, make
from optimizers.targets.network_counters import parse_counters, used_pages
from optimizers.targets.network_facts import NetworkFacts
from optimizers.targets.network_knobs import (
    CONGESTION,
    RMEM,
    SLOW_START,
    SOMAXCONN,
    SYN_BACKLOG,
    WMEM,
)
from optimizers.testing import check_target
from optimizers.testing.guards import FreeGuard
from registry.agent_records import Change
from tests.services.processes import wait_until
from tests.services.tcp_children import (
    advice_without_permission,
    crowded_listener,
    killed_while_writing,
)

SMALL = "4096\t16384\t100000"


def target_of(namespace: str | None) -> NetworkTarget:
    return NetworkTarget(SystemClock(), 50.0, namespace)


def metrics(target: Target) -> dict[str, float]:
    return {one.metric: one.value for one in target.observe(100.0, 5.0).observations}


def test_the_target_of_a_namespace_conforms(tcp_scene: Scene) -> None:
    others = {
        RMEM: SMALL,
        WMEM: SMALL,
        CONGESTION: "reno",
        SLOW_START: "0",
        SYN_BACKLOG: "333",
        SOMAXCONN: "777",
    }
    before = all_knobs(tcp_scene.sender)
    target = target_of(tcp_scene.sender)
    check_target(target, others=dict(others))
    assert set(target.knobs()) == set(others), "what is of the whole machine is not turned here"
    assert all_knobs(tcp_scene.sender) == before


def test_namespaces_do_not_touch_each_other(tcp_scene: Scene) -> None:
    host = {knob: target_of(None).read(knob) for knob in target_of(None).knobs()}
    receiver = all_knobs(tcp_scene.receiver)
    target = target_of(tcp_scene.sender)
    for knob, after in ((RMEM, SMALL), (CONGESTION, "reno"), (SOMAXCONN, "12")):
        target.write(Change(knob, target.read(knob), after), FreeGuard())
    assert target.read(RMEM) == SMALL
    assert inside(tcp_scene.sender, "cat", "/proc/sys/net/ipv4/tcp_rmem") == f"{SMALL}\n"
    assert all_knobs(tcp_scene.receiver) == receiver
    assert {knob: target_of(None).read(knob) for knob in target_of(None).knobs()} == host


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        (RMEM, "4096\t16384\t2147483648"),
        (RMEM, "4096\t16384"),
        (RMEM, "0\t1\t2"),
        (RMEM, "4096 16384 100000"),
        (RMEM, 7),
        (CONGESTION, "no-such-thing"),
        (CONGESTION, "../../etc/passwd"),
        (SLOW_START, "2"),
        (SOMAXCONN, "-1"),
    ],
)
def test_a_value_out_of_the_kernels_range_changes_nothing(
    tcp_scene: Scene, knob: str, value: str | int
) -> None:
    target = target_of(tcp_scene.sender)
    before = target.read(knob)
    with pytest.raises(InputError, match="cannot be"):
        target.write(Change(knob, before, value), FreeGuard())
    assert target.read(knob) == before


def test_a_value_that_a_person_has_set_meanwhile_stays(tcp_scene: Scene) -> None:
    target = target_of(tcp_scene.sender)
    before = target.read(RMEM)
    tcp_scene.set_knob(tcp_scene.sender, "net.ipv4.tcp_rmem", "4096 20000 30000")
    with pytest.raises(ConflictError, match="somebody else"):
        target.write(Change(RMEM, before, SMALL), FreeGuard())
    assert target.read(RMEM) == "4096\t20000\t30000"


def test_a_congestion_control_that_could_not_be_put_back_stays(
    tcp_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(tcp_scene.sender)
    # As where somebody took cubic from the list after the namespace was made with it.
    monkeypatch.setattr(network_knobs, "settable_algorithms", lambda: ("reno", "bbr"))
    with pytest.raises(ConflictError, match="could not be put back"):
        target.write(Change(CONGESTION, "cubic", "reno"), FreeGuard())
    assert target.read(CONGESTION) == "cubic"


def test_a_namespace_that_is_gone_is_told_and_nothing_hangs(tcp_scene: Scene) -> None:
    target = target_of(tcp_scene.sender)
    target.observe(100.0, 5.0)
    subprocess.run(["ip", "netns", "del", tcp_scene.sender], check=True)
    for call in (
        lambda: target.observe(101.0, 5.0),
        lambda: target.read(RMEM),
        lambda: target.write(Change(RMEM, SMALL, SMALL), FreeGuard()),
    ):
        with pytest.raises(UnavailableError, match=f"no network namespace {tcp_scene.sender}"):
            call()
    assert target.knobs() == ()


@pytest.mark.parametrize(("when", "found"), [("before", "before"), ("after", "after")])
def test_after_a_death_while_writing_the_value_is_one_of_the_two_and_can_be_put_back(
    tcp_scene: Scene, when: str, found: str
) -> None:
    target, knobs = target_of(tcp_scene.sender), all_knobs(tcp_scene.sender)
    before = target.read(RMEM)
    code = killed_while_writing(tcp_scene.sender, when, RMEM, before, SMALL)
    assert code == -signal.SIGKILL
    assert target.read(RMEM) == {"before": before, "after": SMALL}[found]
    target.write(Change(RMEM, SMALL, before), FreeGuard())
    assert all_knobs(tcp_scene.sender) == knobs


def test_without_permission_there_is_advice_and_no_action(tcp_scene: Scene) -> None:
    answer = advice_without_permission(tcp_scene.receiver)
    assert answer["writable"] is False
    assert answer["kept"] is True
    assert "root or CAP_NET_ADMIN" in str(answer["refusal"])
    assert answer["proposals"] == 0
    assert "run as root: sysctl -w net.ipv4.tcp_rmem='4096 131072 " in str(answer["finding"])


def test_real_transfers_are_measured_at_both_ends(tcp_scene: Scene, tmp_path: Path) -> None:
    tcp_scene.set_loss(0.05)
    sender, receiver = target_of(tcp_scene.sender), target_of(tcp_scene.receiver)
    with (
        receiving(tcp_scene.receiver, tmp_path) as received,
        sending(tcp_scene.sender, tcp_scene.address, each_s=1.0, connections=2),
    ):
        wait_until(lambda: received.count() > 0, 20.0, "something to arrive")
        first = metrics(sender)
        assert "retransmit_share" not in first, "the first look has nothing to compare with"
        looks: list[dict[str, float]] = []

        def measured() -> bool:
            looks.append(metrics(sender))
            moving = looks[-1].get("goodput_bytes_per_second", 0.0) > 0
            return moving and "retransmit_share" in looks[-1]

        wait_until(measured, 20.0, "enough traffic to be measured")
        sent, came = looks[-1], metrics(receiver)
    assert 0.001 < sent["retransmit_share"] < 0.5
    assert 0 < sent["network_latency_ms"] <= sent["network_latency_p90_ms"] < 50
    assert sent["connections"] >= 1
    assert "retransmit_share" not in came, "it has sent nothing to speak of"


def test_a_full_listening_queue_is_seen_and_whose_setting_limits_it(tcp_scene: Scene) -> None:
    tcp_scene.set_knob(tcp_scene.sender, "net.core.somaxconn", "4")
    target = target_of(tcp_scene.sender)
    target.observe(100.0, 5.0)
    with crowded_listener(tcp_scene.sender):
        observed = target.observe(101.0, 5.0)
    seen = {one.metric: one.value for one in observed.observations}
    assert seen["listen_overflows_per_second"] > 0
    assert isinstance(observed.facts, NetworkFacts)
    assert observed.facts.clamped == ("127.0.0.1:7001",)


def test_without_ss_the_rest_is_still_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    observed = target_of(None).observe(100.0, 5.0)
    assert any("install iproute2" in trouble for trouble in observed.troubles)
    assert isinstance(observed.facts, NetworkFacts)
    assert observed.facts.values[RMEM]
    known = "tcp_memory_percent" in {one.metric for one in observed.observations}
    assert known == Path("/proc/sys/net/ipv4/tcp_mem").exists()
    assert "connections" not in {one.metric for one in observed.observations}


def test_the_agents_own_namespace_is_observed_with_its_own_clock() -> None:
    target = target_of(None)
    assert target.name == "network"
    target.observe(100.0, 5.0)
    time.sleep(0.05)
    assert {"retransmits_per_second", "connections_opened_per_second"} <= metrics(target).keys()


def test_the_settings_say_which_namespaces(tmp_path: Path) -> None:
    assert [one.name for one in make(PluginContext(Settings(), SystemClock()))] == ["network"]
    named = Settings.model_validate({"performance": {"tcp_tuning": {"namespaces": ["a", "b"]}}})
    made = make(PluginContext(named, SystemClock()))
    assert [one.name for one in made] == ["network-a", "network-b"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "two words", "Upper", "", "-x", "a;b"])
def test_a_name_that_no_command_line_should_carry_is_refused(name: str) -> None:
    settings = Settings.model_validate({"performance": {"tcp_tuning": {"namespaces": [name]}}})
    with pytest.raises(ConfigError, match="namespaces names"):
        make(PluginContext(settings, SystemClock()))


def test_an_unreadable_proc_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network_counters, "_NET", tmp_path)
    with pytest.raises(UnavailableError, match="snmp cannot be read"):
        target_of(None).observe(100.0, 5.0)
    monkeypatch.setattr(network_knobs, "_SYS", tmp_path)
    with pytest.raises(UnavailableError, match="tcp_rmem cannot be read"):
        target_of(None).read(RMEM)
    assert target_of(None).knobs() == ()


@pytest.mark.parametrize(
    "text", ["", "Tcp: a b\n", "Tcp: a b\nTcp: 1\n", "Tcp: a\nTcp: x\n", "Tcp: a\n" * 3]
)
def test_counters_in_another_form_are_told(text: str) -> None:
    with pytest.raises(UnavailableError, match="not as expected"):
        parse_counters(text, "Tcp")


def test_tcp_memory_is_read_and_its_absence_told() -> None:
    assert used_pages("sockets: used 19\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 42\n") == 42
    with pytest.raises(UnavailableError, match="does not tell"):
        used_pages("UDP: inuse 0 mem 3\n")
