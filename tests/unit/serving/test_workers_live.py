"""More workers and fewer on the real predictor, with the real supervisor, under real load.

These tests also pin what is used of BentoML, circus and uvicorn: a version in which the supervisor
or the server can no longer be found fails them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import psutil
import pytest

from tests.services.processes import wait_until
from tests.services.worker_load import MODEL, Crew, crew, steady_load


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    with crew(tmp_path_factory.mktemp("crew"), SERVING__DRAIN_SECONDS=1.0) as found:
        yield found


async def test_no_request_is_lost_while_workers_come_and_go(one: Crew) -> None:
    accepted: list[int] = []

    def out_and_in() -> None:
        one.want(2)
        one.await_running(2)
        accepted.append(accepting(one))
        one.want(1)
        one.await_running(1)

    results = await steady_load(one.predictor.url, clients=16, rate=150, meanwhile=out_and_in)
    assert [one.errors for one in results] == [{}] * len(results)
    assert sum(one.answered for one in results) == sum(one.offered for one in results)
    assert accepted == [2]


def accepting(one: Crew) -> int:
    with one.predictor.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(int(line.split()[-1]) for line in lines if "worker_accepting{" in line)


def test_a_killed_worker_is_started_again_within_seconds(one: Crew) -> None:
    one.want(1)
    one.await_running(1)
    dead = one.kill_worker()
    wait_until(lambda: dead not in one.note.running, 5, "the dead worker to be noticed")
    one.await_running(1, 60)
    with one.predictor.client() as client:
        assert client.get("/livez").status_code == 200


def test_a_knob_that_is_taken_away_leaves_the_settings(tmp_path: Path) -> None:
    with crew(tmp_path, SERVING__DRAIN_SECONDS=2.0) as two:
        two.want(2)
        two.await_running(2)
        oldest = two.note.running[0]
        with connected(two, oldest) as quiet, connected(two, oldest) as busy:
            began = time.monotonic()
            two.want(None)
            wait_until(lambda: two.note.draining == (oldest,), 10, "the worker to drain")
            assert asked(busy).headers["connection"] == "close"
            two.await_running(1)
            assert time.monotonic() - began > 1.0
            assert quiet.sock.recv(1) == b""  # closed, but only after the drain time
        assert oldest not in two.note.running


def test_stopping_is_quick_in_the_middle_of_a_drain(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with crew(tmp_path, SERVING__DRAIN_SECONDS=60) as two:
            two.want(2)
            two.await_running(2)
            quiet = stack.enter_context(connected(two, two.note.running[0]))
            two.want(1)
            wait_until(lambda: bool(two.note.draining), 10, "a worker to drain")
            began = time.monotonic()
        assert time.monotonic() - began < 8.0
        assert quiet.sock.recv(1) == b""


@contextmanager
def connected(crew: Crew, pid: int) -> Iterator[HTTPConnection]:
    """A kept connection to a certain worker, which has answered on it."""
    with ExitStack() as kept:
        for _ in range(100):
            connection = HTTPConnection(crew.predictor.url.removeprefix("http://"), timeout=20.0)
            kept.enter_context(closing(connection))
            assert asked(connection).status == 200
            if connection.sock.getsockname()[1] in ports_of(pid):
                yield connection
                return
        pytest.fail(f"worker {pid} took no connection")


def asked(connection: HTTPConnection) -> HTTPResponse:
    """The answer, read to its end."""
    connection.request("GET", f"/v2/models/{MODEL}")
    answer = connection.getresponse()
    answer.read()
    return answer


def ports_of(pid: int) -> set[int]:
    """The client ports of a process' connections."""
    return {one.raddr.port for one in psutil.Process(pid).net_connections() if one.raddr}
