"""When TCP is tuned, to what, and when it is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tcp_namespaces import CHALLENGER, Scene, all_knobs
from config.clock import SystemClock
from config.performance_settings import TcpSettings
from optimizers.performance.tcp_tuning_remedies import larger, most_bytes
from optimizers.targets.network import NetworkTarget
from optimizers.targets.network_facts import NetworkFacts
from optimizers.targets.network_knobs import (
    CONGESTION,
    DEVICE_BACKLOG,
    KNOBS,
    RMEM,
    SLOW_START,
    SOMAXCONN,
    SYN_BACKLOG,
    WMEM,
)
from optimizers.testing import check_capability, check_knob_action
from optimizers.view import View
from registry.agent_records import ActionState, Change, Direction, Proposal, Verdict
from tests.unit.optimizers.performance.tcp_views import (
    AT,
    FACTS,
    USUAL,
    ended,
    proposals,
    seen,
    tuning,
    with_values,
)

LOSS = {"retransmit_share": 0.05}
CLAMPED = replace(FACTS, clamped=("*:80",))
NO_COOKIES = replace(FACTS, syn_cookies=False)

CASES: Mapping[str, tuple[Mapping[str, float], NetworkFacts, str, str, str]] = {
    "loss": (LOSS, FACTS, CONGESTION, "bbr", "goodput_bytes_per_second"),
    "receive buffer": (
        {"receive_limited_share": 0.5},
        with_values({RMEM: "4096\t16384\t16384"}),
        RMEM,
        "4096\t16384\t6291456",
        "receive_bytes_per_second",
    ),
    "larger receive buffer": (
        {"receive_limited_share": 0.5},
        FACTS,
        RMEM,
        "4096\t131072\t12582912",
        "receive_bytes_per_second",
    ),
    "send buffer": (
        {"send_limited_share": 0.4},
        FACTS,
        WMEM,
        "4096\t16384\t8388608",
        "goodput_bytes_per_second",
    ),
    "queueing delay": (
        {"network_latency_ms": 120.0, "network_latency_least_ms": 30.0},
        FACTS,
        CONGESTION,
        "bbr",
        "network_latency_ms",
    ),
    "long way": (
        {"network_latency_ms": 120.0, "network_latency_least_ms": 110.0},
        FACTS,
        SLOW_START,
        "0",
        "goodput_bytes_per_second",
    ),
    "listen queue": (
        {"listen_overflows_per_second": 2.0},
        CLAMPED,
        SOMAXCONN,
        "8192",
        "listen_overflows_per_second",
    ),
    "queue of first packets": (
        {"syn_drops_per_second": 2.0},
        NO_COOKIES,
        SYN_BACKLOG,
        "2048",
        "syn_drops_per_second",
    ),
    "device queue": (
        {"device_drops_per_second": 5.0},
        FACTS,
        DEVICE_BACKLOG,
        "2000",
        "device_drops_per_second",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_the_limit_is_raised_and_measured(name: str) -> None:
    metrics, facts, knob, after, goal = CASES[name]
    [proposal] = check_capability(tuning(), [seen(metrics, facts)])
    assert proposal.change == Change(knob, facts.values[knob], after)
    assert proposal.goal_metric == goal
    assert proposal.reversible


def test_the_capability_conforms_over_all_its_cases() -> None:
    views = [seen(metrics, facts) for metrics, facts, *_ in CASES.values()]
    assert len(check_capability(tuning(), views)) == len(CASES)


def test_a_quiet_network_is_left_alone() -> None:
    calm = {
        "retransmit_share": 0.001,
        "network_latency_ms": 20.0,
        "network_latency_least_ms": 19.0,
        "receive_limited_share": 0.0,
        "send_limited_share": 0.1,
        "peer_limited_share": 0.1,
        "listen_overflows_per_second": 0.0,
        "syn_drops_per_second": 0.0,
        "device_drops_per_second": 0.0,
        "tcp_memory_percent": 10.0,
    }
    assert list(tuning().detect(seen(calm))) == []


def test_one_bad_look_is_not_enough() -> None:
    view = seen(LOSS)
    series = view.history["network", "retransmit_share"]
    once = [replace(one, value=0.0) for one in series[:-1]] + [series[-1]]
    calmed = {**view.history, ("network", "retransmit_share"): once}
    assert list(tuning().detect(replace(view, history=calmed))) == []


def test_a_target_that_told_no_facts_is_not_tuned() -> None:
    assert list(tuning().detect(replace(seen(LOSS), facts={}))) == []


def test_without_permission_the_finding_says_what_to_run() -> None:
    view = seen(LOSS, replace(FACTS, writable=False, namespace="blue"))
    [finding] = tuning().detect(view)
    command = "ip netns exec blue sysctl -w net.ipv4.tcp_congestion_control='bbr'"
    assert finding.text.endswith(f"run as root: {command}")
    assert list(tuning().propose(finding, view)) == []


def test_another_congestion_control_is_tried_after_one_that_did_not_help() -> None:
    [first] = proposals(tuning(), seen(LOSS))
    tried = ended(first, ActionState.ROLLED_BACK, Verdict.INCONCLUSIVE)
    [second] = proposals(tuning(), seen(LOSS, actions=[tried]))
    assert second.change == Change(CONGESTION, "cubic", "reno")
    both = [tried, ended(second, ActionState.ROLLED_BACK, Verdict.WORSE)]
    assert proposals(tuning(), seen(LOSS, actions=both)) == []


def test_what_was_beaten_is_not_tried_again_while_the_loss_lasts() -> None:
    [first] = proposals(tuning(), seen(LOSS))
    failed = ended(first, ActionState.ROLLED_BACK, Verdict.WORSE)
    [second] = proposals(tuning(), seen(LOSS, actions=[failed]))
    kept = [failed, ended(second, ActionState.COMPLETED, Verdict.IMPROVED)]
    reno = with_values({CONGESTION: "reno"})
    assert proposals(tuning(), seen(LOSS, reno, actions=kept)) == []


def test_one_that_does_not_take_loss_for_congestion_stays() -> None:
    assert proposals(tuning(), seen(LOSS, with_values({CONGESTION: "bbr"}))) == []


def test_what_was_only_interrupted_or_long_ago_is_tried_again() -> None:
    [first] = proposals(tuning(), seen(LOSS))
    paused = ended(first, ActionState.ROLLED_BACK)
    old = ended(first, ActionState.ROLLED_BACK, Verdict.WORSE, at=AT - 90_000)
    [again] = proposals(tuning(), seen(LOSS, actions=[paused, old]))
    assert again.change == first.change


def test_only_a_congestion_control_that_can_be_put_back_is_left() -> None:
    facts = replace(FACTS, algorithms=("reno", "bbr"))
    assert proposals(tuning(), seen(LOSS, facts)) == []


def test_long_lived_connections_would_not_see_another_congestion_control() -> None:
    assert proposals(tuning(), seen(LOSS | {"fresh_traffic_share": 0.01})) == []


@pytest.mark.parametrize(("fresh", "pairs"), [(1.0, True), (0.5, False)])
def test_it_is_measured_in_pairs_where_new_connections_come_often(
    fresh: float, pairs: bool
) -> None:
    [proposal] = proposals(tuning(), seen(LOSS | {"fresh_traffic_share": fresh}))
    assert proposal.parameters["pairs"] is pairs


def chosen_for_loss() -> tuple[Proposal, NetworkFacts]:
    [proposal] = proposals(tuning(), seen(LOSS))
    return proposal, with_values({CONGESTION: "bbr"})


def test_when_the_loss_is_over_the_earlier_congestion_control_is_tried_again() -> None:
    proposal, facts = chosen_for_loss()
    kept = ended(proposal, ActionState.COMPLETED, Verdict.IMPROVED)
    [back] = proposals(tuning(), seen({"retransmit_share": 0.0}, facts, actions=[kept]))
    assert back.change == Change(CONGESTION, "bbr", "cubic")
    stays = [kept, ended(back, ActionState.ROLLED_BACK, Verdict.INCONCLUSIVE)]
    assert proposals(tuning(), seen({"retransmit_share": 0.0}, facts, actions=stays)) == []


def test_a_congestion_control_that_a_person_chose_stays() -> None:
    assert (
        proposals(tuning(), seen({"retransmit_share": 0.0}, with_values({CONGESTION: "bbr"}))) == []
    )


def raised() -> tuple[Proposal, NetworkFacts]:
    [proposal] = proposals(tuning(), seen({"send_limited_share": 0.9}))
    assert proposal.change is not None
    return proposal, with_values({WMEM: str(proposal.change.after)})


def test_under_memory_pressure_what_was_raised_is_taken_back() -> None:
    proposal, facts = raised()
    kept = ended(proposal, ActionState.COMPLETED, Verdict.IMPROVED)
    [pull] = proposals(tuning(), seen({"tcp_memory_percent": 120.0}, facts, actions=[kept]))
    assert pull.change == Change(WMEM, facts.values[WMEM], USUAL[WMEM])
    assert (pull.goal_metric, pull.goal_direction) == ("tcp_memory_percent", Direction.MINIMIZE)


@pytest.mark.parametrize("state", [ActionState.ROLLED_BACK, ActionState.REJECTED])
def test_what_it_has_not_raised_is_never_lowered(state: ActionState) -> None:
    proposal, facts = raised()
    pressed = {"tcp_memory_percent": 120.0}
    assert proposals(tuning(), seen(pressed)) == []
    other = ended(proposal, state, Verdict.WORSE)
    assert proposals(tuning(), seen(pressed, facts, actions=[other])) == []
    kept = ended(proposal, ActionState.COMPLETED, Verdict.IMPROVED)
    edited = with_values({WMEM: "4096\t16384\t5000000"})
    assert proposals(tuning(), seen(pressed, edited, actions=[kept])) == []


def test_a_full_queue_that_no_setting_limits_is_only_told() -> None:
    view = seen({"listen_overflows_per_second": 2.0})
    [finding] = tuning().detect(view)
    assert "raise the backlog it listens with" in finding.text
    assert list(tuning().propose(finding, view)) == []


def test_the_other_sides_window_is_told_and_not_touched() -> None:
    view = seen({"peer_limited_share": 0.8})
    [finding] = tuning().detect(view)
    assert "raise net.ipv4.tcp_rmem there" in finding.text
    assert list(tuning().propose(finding, view)) == []


def test_each_namespace_is_looked_at_by_itself_and_they_are_tuned_one_at_a_time() -> None:
    capability = tuning(namespaces=["a", "b"])
    one, other = (
        seen(LOSS, replace(FACTS, namespace=name), target=f"network-{name}") for name in "ab"
    )
    both = View(at=AT, history={**one.history, **other.history}, facts={**one.facts, **other.facts})
    found = proposals(capability, both)
    assert [proposal.target for proposal in found] == ["network-a", "network-b"]
    assert found[0].domains & found[1].domains
    assert [p.target for p in proposals(capability, other)] == ["network-b"]


BUFFERS = st.lists(st.integers(1, 2**31 - 1), min_size=3, max_size=3).map(sorted)


@given(BUFFERS, st.integers(1, 2**31 - 1), st.floats(0.001, 4096.0))
def test_a_buffer_is_only_ever_raised_and_never_above_its_bound(
    values: list[int], usual: int, max_mb: float
) -> None:
    most = most_bytes(TcpSettings(max_buffer_mb=max_mb))
    after = larger("\t".join(map(str, values)), usual, most)
    if after is None:
        assert values[2] >= most
        return
    least, default, largest = (int(one) for one in after.split())
    assert [least, default] == values[:2]
    assert values[2] < largest <= most
    numbers = KNOBS[RMEM]
    assert numbers is not None
    assert numbers.fault(after) == ""


@pytest.mark.parametrize("name", ["receive buffer", "loss"])
def test_its_actions_on_a_real_namespace_are_undone_and_step_aside(
    tcp_scene: Scene, name: str
) -> None:
    target = NetworkTarget(SystemClock(), 50.0, tcp_scene.sender)
    before = all_knobs(tcp_scene.sender)
    facts = target.observe(AT, 5.0).facts
    assert isinstance(facts, NetworkFacts)
    if name == "loss" and CHALLENGER not in facts.algorithms:
        pytest.skip(f"the kernel has no {CHALLENGER}")
    capability = tuning(namespaces=[tcp_scene.sender])
    small = {"receive_limited_share": 0.9} if name == "receive buffer" else LOSS
    [proposal] = proposals(capability, seen(small, facts, target=target.name))
    stranger = "reno" if name == "loss" else "4096\t5000\t6000"
    check_knob_action(capability.effects, proposal, target, stranger=stranger)
    assert all_knobs(tcp_scene.sender) == before
