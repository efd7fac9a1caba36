"""What `ss` says, read."""

from __future__ import annotations

from optimizers.targets.network_sockets import parse_connection, parse_listeners

SENDS = (
    "0      1258312 10.77.0.1:38964 10.77.0.2:5201 timer:(on,080ms,0) ino:47646 sk:7f "
    "cgroup:unreachable:1 <-> skmem:(r0,rb131072,t0,tb1658880,f1336,w1276616,o0,bl0,d0) ts sack "
    "ecn cubic wscale:10,10 rto:204 rtt:0.25/0.416 mss:1448 pmtu:1500 rcvmss:536 advmss:1448 "
    "cwnd:3 ssthresh:30 bytes_sent:116199253 bytes_retrans:5384640 bytes_acked:110755246 "
    "segs_out:80300 segs_in:2562 data_segs_out:80298 send 139008000bps lastsnd:124 lastrcv:996 "
    "delivery_rate 11584000000bps delivered:76560 busy:996ms rwnd_limited:780ms(78.3%) "
    "sndbuf_limited:20ms(2.0%) unacked:41 retrans:3/3721 rcv_space:14480 minrtt:0.001"
)
RECEIVES = (
    "0      0      [::ffff:10.77.0.2]:5201 [::ffff:10.77.0.1]:33722 ino:44224 sk:4 <-> "
    "skmem:(r0,rb33554432,t0,tb46080,f0,w0,o0,bl0,d224) ts sack bbr wscale:10,10 rto:204 "
    "rtt:0.004/0.002 ato:40 mss:1448 cwnd:10 bytes_received:1520959525 segs_out:7090 "
    "bbr:(bw:0bps,mrtt:0.004) rcv_rtt:41.5 rcv_space:7674856 minrtt:0.004 snd_wnd:64512"
)


def test_a_sender_is_read() -> None:
    found = parse_connection(SENDS)
    assert found is not None
    assert (found.key, found.peer, found.algorithm) == ("7f", "10.77.0.2", "cubic")
    assert (found.acked, found.received, found.busy_ms) == (110_755_246, 0, 996)
    assert (found.peer_limited_ms, found.send_limited_ms) == (780, 20)
    assert (found.round_trip_ms, found.least_round_trip_ms) == (0.25, 0.001)
    assert found.receive_buffer == 131_072


def test_a_receiver_has_the_round_trip_it_measured_itself() -> None:
    found = parse_connection(RECEIVES)
    assert found is not None
    assert (found.peer, found.algorithm) == ("10.77.0.1", "bbr")
    assert (found.round_trip_ms, found.received) == (41.5, 1_520_959_525)


def test_what_stays_on_the_machine_is_left_out() -> None:
    for local, peer in (
        ("127.0.0.1:1", "127.0.0.1:2"),
        ("[::1]:1", "[::1]:2"),
        ("10.1.1.1:80", "10.1.1.1:999"),
        ("[fe80::1%eth0]:1", "[fe80::1%eth0]:2"),
    ):
        line = SENDS.replace("10.77.0.1:38964", local).replace("10.77.0.2:5201", peer)
        assert parse_connection(line) is None, (local, peer)


def test_what_is_no_connection_is_left_out() -> None:
    for line in ("", "garbage", "0 0 a b", SENDS.replace("sk:7f", ""), SENDS[:120]):
        assert parse_connection(line) is None


def test_listening_sockets_tell_how_many_may_wait() -> None:
    [one, other] = parse_listeners("LISTEN 0 4096 *:5201 *:*\nLISTEN 2 128 [::]:80 [::]:*\nodd\n")
    assert (one.address, one.backlog) == ("*:5201", 4096)
    assert (other.address, other.backlog) == ("[::]:80", 128)
