"""Starts and looks up flow runs over Prefect's REST API, without importing Prefect.

Importing it costs two seconds and 80 MB, too much for the poller that looks every second. Starting
is idempotent: a key is started once, however many ask; a run that failed is tried again under the
next attempt's key, later each time, and not for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

import httpx
from pydantic import JsonValue

from config.clock import Clock
from config.errors import ConfigError, UnavailableError
from config.redaction import redact
from optimizers.models.watching import RunState

Json: TypeAlias = dict[str, JsonValue]

MAX_ATTEMPTS = 5

_TIMEOUT_S = 10.0
_FIRST_PAUSE_S = 5.0
_LONGEST_RUN = timedelta(minutes=2)
# With SQLite the server says "busy" when several write at once; Prefect's own client waits too.
_BUSY = {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
_FAILED = {"FAILED", "CRASHED"}
_UNDER_WAY = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]


class StartState(StrEnum):
    """What came of asking for a flow run."""

    STARTED = "started"
    KNOWN = "known"
    WAITING = "waiting"
    GIVEN_UP = "given up"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Start:
    """A flow run asked for: the newest run under the key, and the state of the asking.

    Attributes:
        state: STARTED now, KNOWN (started earlier), WAITING to try a failed one again, GIVEN_UP
            after the last attempt failed, CANCELLED by a person.
        message: the run's own last word.
    """

    state: StartState
    flow_run_id: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A flow run as Prefect knows it.

    Attributes:
        state: Prefect's state type, such as `RUNNING`, `PAUSED` or `CRASHED`.
        message: its last word.
    """

    id: str
    state: str
    message: str = ""


class PrefectRest:
    """One Prefect server.

    Every method raises UnavailableError when the server does not answer or fails, and ConfigError
    when a deployment is missing.
    """

    def __init__(
        self,
        api_url: str,
        clock: Clock,
        environ: Mapping[str, str] | None = None,
        *,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        env = os.environ if environ is None else environ
        key, basic = env.get("PREFECT_API_KEY"), env.get("PREFECT_API_AUTH_STRING")
        user, _, password = (basic or "").partition(":")
        self.address = redact(api_url)
        self._clock = clock
        self._wait = wait
        self._http = httpx.Client(
            base_url=api_url.rstrip("/"),
            timeout=_TIMEOUT_S,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            auth=httpx.BasicAuth(user, password) if basic else None,
        )
        self._deployments: dict[str, str] = {}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def start(
        self,
        deployment: str,
        parameters: Mapping[str, JsonValue],
        *,
        key: str,
        tags: Collection[str],
    ) -> Start:
        """Start a run of a deployment, once for each key.

        Args:
            deployment: `flow/deployment`.
            parameters: of the flow.
            key: names what is started; the same key again gives the run there is.
            tags: shown in Prefect's UI.
        """
        now = self._clock.now()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            run, created = self._create(deployment, parameters, f"{key}#{attempt}", tags)
            state = _state(run)
            if state["type"] == "CANCELLED":
                return Start(StartState.CANCELLED, str(run["id"]), _message(state))
            if state["type"] not in _FAILED:
                started = StartState.STARTED if created else StartState.KNOWN
                return Start(started, str(run["id"]), _message(state))
            since = (now - datetime.fromisoformat(str(state["timestamp"]))).total_seconds()
            pause = _FIRST_PAUSE_S * 2**attempt
            # A little before the failure: the two machines' clocks differ.
            if -pause <= since < pause:
                return Start(StartState.WAITING, str(run["id"]), _message(state))
        return Start(StartState.GIVEN_UP, str(run["id"]), _message(state))

    def trigger(self, deployment: str) -> str | None:
        """Start a run of a deployment, unless one is under way already; return its id.

        A run that should have begun long ago counts as dead: Prefect may not know it yet.
        """
        now = self._clock.now()
        body: Json = {
            "deployments": {"id": {"any_": [self._deployment_id(deployment)]}},
            "flow_runs": {
                "state": {"type": {"any_": [*_UNDER_WAY]}},
                "expected_start_time": {
                    "before_": now.isoformat(),
                    "after_": (now - _LONGEST_RUN).isoformat(),
                },
            },
            "limit": 1,
        }
        if self._call("POST", "/flow_runs/filter", body).json():
            return None
        run, _ = self._create(deployment, {}, None, ())
        return str(run["id"])

    def started(self, keys: Collection[str]) -> set[str]:
        """Those of the keys under which a run was started that has not failed."""
        attempts = {f"{key}#{number + 1}": key for key in keys for number in range(MAX_ATTEMPTS)}
        if not attempts:
            return set()
        body: Json = {"flow_runs": {"idempotency_key": {"any_": list(attempts)}}}
        runs = self._call("POST", "/flow_runs/filter", body).json()
        return {
            attempts[str(run["idempotency_key"])]
            for run in runs
            if run.get("state_type") not in _FAILED
        }

    def run_states(self, ids: Collection[str]) -> dict[str, RunState]:
        """What became of flow runs; a run that was deleted is over."""
        wanted = [one for one in ids if _is_uuid(one)]
        if not wanted:
            return {}
        body: Json = {"flow_runs": {"id": {"any_": list(wanted)}}}
        runs = self._call("POST", "/flow_runs/filter", body).json()
        known = {str(run["id"]): str(run.get("state_type")) for run in runs}
        return {one: _run_state(known.get(one)) for one in wanted}

    def cancel(self, flow_run_id: str) -> None:
        """Ask for a flow run to be cancelled."""
        body: Json = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        self._call("POST", f"/flow_runs/{flow_run_id}/set_state", body)

    def find(self, key: str) -> Run | None:
        """The newest run that was started under a key; None when there is none."""
        keys: list[JsonValue] = [f"{key}#{number + 1}" for number in range(MAX_ATTEMPTS)]
        body: Json = {"flow_runs": {"idempotency_key": {"any_": keys}}}
        runs = self._call("POST", "/flow_runs/filter", body).json()
        newest = max(runs, key=lambda run: str(run["idempotency_key"]), default=None)
        if newest is None:
            return None
        return Run(str(newest["id"]), str(newest.get("state_type")), _message(_state(newest)))

    def schedule_paused(self, deployment: str) -> bool:
        """Whether a person paused a deployment, or all of its schedules, in Prefect."""
        answer = self._call("GET", f"/deployments/name/{deployment}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        found = answer.json()
        schedules = [one.get("active") for one in found.get("schedules") or ()]
        return bool(found.get("paused")) or (bool(schedules) and not any(schedules))

    def _create(
        self,
        deployment: str,
        parameters: Mapping[str, JsonValue],
        key: str | None,
        tags: Collection[str],
    ) -> tuple[Json, bool]:
        body: Json = {
            "parameters": dict(parameters),
            "idempotency_key": key,
            "tags": list(tags),
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
        }
        path = f"/deployments/{self._deployment_id(deployment)}/create_flow_run"
        response = self._call("POST", path, body)
        if response.status_code == httpx.codes.NOT_FOUND:
            self._deployments.pop(deployment, None)
            raise UnavailableError(f"deployment {deployment} was replaced just now; try again")
        return response.json(), response.status_code == httpx.codes.CREATED

    def _deployment_id(self, name: str) -> str:
        if name not in self._deployments:
            answer = self._call("GET", f"/deployments/name/{name}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise ConfigError(
                    f"Prefect at {self.address} has no deployment {name}; run `prime-spark deploy`"
                )
            self._deployments[name] = str(answer.json()["id"])
        return self._deployments[name]

    def _call(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        for pause in _PAUSES_S:
            response = self._request(method, path, body)
            if response.status_code not in _BUSY:
                break
            self._wait(pause)
        else:
            response = self._request(method, path, body)
        if response.is_error and response.status_code != httpx.codes.NOT_FOUND:
            raise UnavailableError(
                f"the Prefect server {self.address} refuses {method} {path} with status "
                f"{response.status_code}: {redact(response.text[:300])}"
            )
        return response

    def _request(self, method: str, path: str, body: Json | None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the Prefect server {self.address} does not answer ({error}); check that it is up"
            ) from error


def _state(run: Json) -> Json:
    state = run.get("state")
    return state if isinstance(state, dict) else {"type": "SCHEDULED"}


def _message(state: Json) -> str:
    return str(state.get("message") or "")


def _run_state(state: str | None) -> RunState:
    if state in {"CANCELLED", "CANCELLING"}:
        return RunState.CANCELLED
    return RunState.ALIVE if state in _UNDER_WAY else RunState.OVER


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4
