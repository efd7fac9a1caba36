"""Starting flow runs once, against a real Prefect server; nothing runs them here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import JsonValue

from config.clock import ManualClock, SystemClock
from config.errors import ConfigError, UnavailableError
from config.ids import SystemIds
from config.settings import PrefectSettings, Settings
from flows.deployments import deploy
from flows.names import BENCHMARK, OPTIMIZE, deployment_of
from flows.prefect_rest import MAX_ATTEMPTS, PrefectRest, Start, StartState
from flows.resident.jobs import PrefectJobs
from optimizers.capability import JobState
from optimizers.models.watching import RunState
from tests.services.prefect_server import PrefectServer
from tests.services.processes import free_port

PARAMETERS: dict[str, JsonValue] = {"model": "toy", "version": 1}


class Server:
    """The server, the client under test, and a clock for its patience."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        self.began = SystemClock().now()
        self.clock = ManualClock(self.began)
        self.client = PrefectRest(api_url, self.clock)
        self.key = SystemIds().new("key")

    def start(self) -> Start:
        return self.client.start(deployment_of(BENCHMARK), PARAMETERS, key=self.key, tags=("toy",))

    def end(self, flow_run_id: str, state: str) -> None:
        """Let a run end, as its process would."""
        body = {"state": {"type": state, "message": f"it {state.lower()}"}, "force": True}
        url = f"{self.api_url}/flow_runs/{flow_run_id}/set_state"
        httpx.post(url, json=body, timeout=20).raise_for_status()


@pytest.fixture(scope="module")
def deployed(prefect_api: PrefectServer) -> str:
    deploy(Settings(prefect=PrefectSettings(api_url=prefect_api.api_url)))
    return prefect_api.api_url


@pytest.fixture
def server(deployed: str) -> Iterator[Server]:
    made = Server(deployed)
    yield made
    made.client.close()


@pytest.fixture
def unplanned(server: Server) -> str:
    """A deployment of this test alone: schedules and other tests start no runs of it."""
    name = SystemIds().new("watcher")
    flow = httpx.post(f"{server.api_url}/flows/", json={"name": name}, timeout=20)
    body = {"name": name, "flow_id": flow.raise_for_status().json()["id"]}
    httpx.post(f"{server.api_url}/deployments/", json=body, timeout=20).raise_for_status()
    return f"{name}/{name}"


def test_a_key_is_started_once(server: Server) -> None:
    first, again = server.start(), server.start()
    assert (first.state, again.state) == (StartState.STARTED, StartState.KNOWN)
    assert first.flow_run_id == again.flow_run_id


def test_a_run_that_ended_well_is_not_repeated(server: Server) -> None:
    first = server.start()
    server.end(first.flow_run_id, "COMPLETED")
    assert server.start().state is StartState.KNOWN


def test_a_failed_run_is_tried_again_after_a_pause_that_grows(server: Server) -> None:
    ends = []
    run = server.start()
    for _ in range(3):
        server.end(run.flow_run_id, "CRASHED")
        while (run := server.start()).state is StartState.WAITING:
            server.clock.advance(1)
        assert run.state is StartState.STARTED
        ends.append((server.clock.now() - server.began).total_seconds())
    assert 8 <= ends[0] <= 12
    assert ends == sorted(set(ends))


def test_after_the_last_attempt_it_is_given_up_with_the_run_s_own_words(server: Server) -> None:
    for _ in range(MAX_ATTEMPTS):
        run = server.start()
        assert run.state is StartState.STARTED
        server.end(run.flow_run_id, "FAILED")
        server.clock.advance(3600)
    assert server.start() == Start(StartState.GIVEN_UP, run.flow_run_id, "it failed")


def test_a_run_that_a_person_cancelled_is_not_repeated(server: Server) -> None:
    run = server.start()
    server.client.cancel(run.flow_run_id)
    server.end(run.flow_run_id, "CANCELLED")
    assert server.start().state is StartState.CANCELLED
    assert server.client.run_states([run.flow_run_id]) == {run.flow_run_id: RunState.CANCELLED}


def test_keys_under_way_are_known_and_failed_ones_are_not(server: Server) -> None:
    run = server.start()
    assert server.client.started([server.key, "another"]) == {server.key}
    server.end(run.flow_run_id, "FAILED")
    assert server.client.started([server.key]) == set()


def test_the_newest_run_of_a_key_is_found(server: Server) -> None:
    assert server.client.find(server.key) is None
    first = server.start()
    found = server.client.find(server.key)
    assert found is not None
    assert (found.id, found.state) == (first.flow_run_id, "SCHEDULED")
    server.end(first.flow_run_id, "FAILED")
    server.clock.advance(3600)
    second = server.start()
    found = server.client.find(server.key)
    assert found is not None
    assert found.id == second.flow_run_id != first.flow_run_id


def test_a_job_is_what_became_of_its_run(server: Server) -> None:
    jobs, name = PrefectJobs(server.client), deployment_of(BENCHMARK)
    assert jobs.find(name, server.key).state is JobState.UNKNOWN
    begun = jobs.start(name, PARAMETERS, server.key)
    assert begun == jobs.start(name, PARAMETERS, server.key)
    assert begun.state is JobState.RUNNING
    assert begun.flow_run_id is not None
    server.end(begun.flow_run_id, "COMPLETED")
    assert jobs.find(name, server.key).state is JobState.DONE


def test_a_schedule_that_a_person_switched_off_is_seen(server: Server) -> None:
    name = deployment_of(OPTIMIZE)
    url = f"{server.api_url}/deployments/name/{name}"
    found = httpx.get(url, timeout=20).raise_for_status().json()
    (one,) = found["schedules"]
    where = f"{server.api_url}/deployments/{found['id']}/schedules/{one['id']}"
    seen = [server.client.schedule_paused(name)]
    for active in (False, True):
        httpx.patch(where, json={"active": active}, timeout=20).raise_for_status()
        seen.append(server.client.schedule_paused(name))
    assert seen == [False, True, False]
    assert not server.client.schedule_paused(deployment_of(BENCHMARK)), "it has none"


def test_what_became_of_runs(server: Server) -> None:
    run = server.start().flow_run_id
    gone = "00000000-0000-0000-0000-000000000000"
    assert server.client.run_states([run, gone, "no id"]) == {
        run: RunState.ALIVE,
        gone: RunState.OVER,
    }
    server.end(run, "CRASHED")
    assert server.client.run_states([run]) == {run: RunState.OVER}


def test_what_is_under_way_is_not_started_again(server: Server, unplanned: str) -> None:
    first = server.client.trigger(unplanned)
    assert first is not None
    server.clock.advance(1)
    assert server.client.trigger(unplanned) is None
    server.end(first, "COMPLETED")
    assert server.client.trigger(unplanned) is not None


def test_a_run_that_died_does_not_block_the_next_one(server: Server, unplanned: str) -> None:
    assert server.client.trigger(unplanned) is not None
    server.clock.advance(600)
    assert server.client.trigger(unplanned) is not None


def test_a_missing_deployment_says_what_to_do(server: Server) -> None:
    with pytest.raises(ConfigError, match="prime-spark deploy"):
        server.client.trigger("nothing/of-that-name")


def test_a_server_that_is_away_is_unavailable() -> None:
    clock = ManualClock(datetime(2025, 6, 1, tzinfo=UTC))
    client = PrefectRest(f"http://127.0.0.1:{free_port()}/api", clock)
    with pytest.raises(UnavailableError, match="does not answer"):
        client.run_states(["00000000-0000-0000-0000-000000000000"])
    client.close()
