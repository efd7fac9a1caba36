"""What connections came to between two looks, computed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.targets.network_flows import (
    Connection,
    delayed_share,
    flows_between,
    fresh_share,
    goodput,
    least_round_trips,
    peer_limited,
    receive_limited,
    receive_rate,
    round_trips,
    send_limited,
    weighted_quantile,
)

IDLE = Connection(
    key="1",
    peer="10.0.0.2",
    algorithm="cubic",
    round_trip_ms=40.0,
    least_round_trip_ms=20.0,
    acked=0,
    received=0,
    busy_ms=0,
    peer_limited_ms=0,
    send_limited_ms=0,
    receive_buffer=131_072,
)


def sent(key: str, acked: int, busy_ms: int, algorithm: str = "cubic") -> Connection:
    return replace(IDLE, key=key, acked=acked, busy_ms=busy_ms, algorithm=algorithm)


def test_old_connections_count_by_their_gain_and_new_ones_from_their_birth() -> None:
    before = [sent("old", 1_000_000, 5000)]
    now = [sent("old", 1_500_000, 5500), sent("new", 300_000, 300)]
    assert goodput(flows_between(before, now), "cubic") == pytest.approx(1_000_000)


def test_goodput_is_that_of_the_time_with_something_to_send() -> None:
    slow_app = [sent("1", 500_000, 500)]  # in however long a time
    assert goodput(flows_between([], slow_app), "cubic") == pytest.approx(1_000_000)


def test_connections_under_another_congestion_control_do_not_count() -> None:
    flows = flows_between([], [sent("1", 900_000, 900, "bbr"), sent("2", 10, 100, "cubic")])
    assert goodput(flows, "bbr") == pytest.approx(1_000_000)


def test_there_is_no_goodput_while_others_compete_or_nothing_is_sent() -> None:
    flows = flows_between([], [sent("1", 900_000, 600, "bbr"), sent("2", 10, 400, "cubic")])
    assert goodput(flows, "bbr") is None
    assert goodput(flows_between([], [IDLE]), "cubic") is None
    assert goodput(flows_between([], [sent("1", 9000, 9)]), "cubic") is None


def test_what_comes_in_is_told_by_connection_and_time() -> None:
    before = [replace(IDLE, received=0), replace(IDLE, key="2", received=0)]
    now = [replace(IDLE, received=1_000_000), replace(IDLE, key="2", received=3_000_000)]
    assert receive_rate(flows_between(before, now), 0.5) == pytest.approx(4_000_000)


def test_new_connections_count_as_if_they_had_been_there_all_the_time() -> None:
    flows = flows_between([], [replace(IDLE, received=10**6)])
    assert receive_rate(flows, 0.5) == pytest.approx(2_000_000)


def test_small_talk_gives_no_receive_rate() -> None:
    talk = flows_between([IDLE], [replace(IDLE, received=9000, acked=9000)])
    assert receive_rate(talk, 0.5) is None


def test_a_receive_buffer_limits_when_it_is_the_largest_and_is_filled() -> None:
    full = replace(IDLE, received=800_000, receive_buffer=65_536)  # 64 kB in a round trip
    flows = flows_between([replace(full, received=0)], [full])
    assert receive_limited(flows, 65_536, 0.5) == 1.0
    assert receive_limited(flows, 6_291_456, 0.5) == 0.0
    calm = flows_between([replace(full, received=0)], [replace(full, received=50_000)])
    assert receive_limited(calm, 65_536, 0.5) == 0.0
    assert receive_limited(flows_between([IDLE], [IDLE]), 65_536, 0.5) is None


def test_shares_of_the_time_held_back() -> None:
    now = [replace(IDLE, busy_ms=200, send_limited_ms=50, peer_limited_ms=100)]
    flows = flows_between([], now)
    assert (send_limited(flows), peer_limited(flows)) == (0.25, 0.5)
    assert send_limited(flows_between([], [IDLE])) is None


def test_delays_are_weighted_by_traffic() -> None:
    fast = replace(IDLE, key="fast", round_trip_ms=1.0, acked=9_000)
    slow = replace(IDLE, key="slow", round_trip_ms=90.0, acked=1_000)
    silent = replace(IDLE, key="silent", round_trip_ms=500.0)
    flows = flows_between([], [fast, slow, silent])
    assert weighted_quantile(round_trips(flows), 0.5) == 1.0
    assert weighted_quantile(round_trips(flows), 0.95) == 90.0
    assert weighted_quantile(least_round_trips(flows), 0.5) == 20.0
    assert delayed_share(flows, 50.0) == pytest.approx(0.1)


def test_a_long_way_is_not_a_delay() -> None:
    far = replace(IDLE, round_trip_ms=210.0, least_round_trip_ms=200.0, acked=1000)
    assert delayed_share(flows_between([], [far]), 50.0) == 0.0


def test_the_share_of_new_traffic() -> None:
    flows = flows_between([IDLE], [replace(IDLE, acked=100), sent("new", 300, 10)])
    assert fresh_share(flows) == 0.75


@given(
    st.lists(st.tuples(st.floats(0.001, 1e6), st.integers(1, 10**9)), min_size=1),
    st.floats(0.01, 1.0),
)
def test_a_quantile_is_one_of_the_values_with_its_share_of_weight_below(
    pairs: list[tuple[float, int]], share: float
) -> None:
    ordered = sorted(pairs)
    found = weighted_quantile(ordered, share)
    assert found in {value for value, _ in ordered}
    assert found is not None
    upto = sum(weight for value, weight in ordered if value <= found)
    assert upto >= share * sum(weight for _, weight in ordered)
