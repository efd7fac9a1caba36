"""The resident agent as a real process, and what a person sees of it in the ledger and Prefect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from config.loader import load_settings
from flows.context import Context
from flows.resident.world import AgentWorld
from registry.agent_records import Action, ActionState
from tests.services.prefect_server import ROOT, PrefectServer

PATIENCE_S = 150.0
TICK_S = 1.0

FAST = {
    f"PRIME_SPARK_MONITORING__{loop}_SECONDS": str(TICK_S)
    for loop in (
        "INTERVAL",
        "ANALYSIS_INTERVAL",
        "OPTIMIZATION_INTERVAL",
        "EXECUTION_INTERVAL",
    )
}
"""Settings with which the agent's loops tick every second."""

T = TypeVar("T")


class AgentScene:
    """An agent with its settings and servers.

    Args:
        settings: as environment variables; more come with each agent that is run.
        prefect: the server that its actions run on.
        folder: where it works and what it prints goes.
    """

    def __init__(self, settings: Mapping[str, str], prefect: PrefectServer, folder: Path) -> None:
        self.variables = dict(settings)
        self.context = Context(load_settings(environ=self.variables))
        self.agent = AgentWorld(self.context)
        self.prefect = prefect
        self.folder = folder

    @contextmanager
    def running_agent(self, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """The resident agent; it has ended within five seconds of being asked to."""
        clean = {n: v for n, v in os.environ.items() if not n.startswith("PRIME_SPARK_")}
        environ = clean | self.variables | more | {"PYTHONPATH": str(ROOT)}
        with (self.folder / "agent.out").open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flows.agent"],
                env=environ,
                cwd=self.folder,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(5.0) == 0
        finally:
            process.kill()
            process.wait()

    def until(self, what: str, find: Callable[[], T | None]) -> T:
        """Wait for something to be found; what is not found in time fails the test."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := find()) is None:
            if time.monotonic() > deadline:
                said = (self.folder / "agent.out").read_text()[-3000:]
                pytest.fail(f"waited in vain until {what}; the agent said:\n{said}")
            time.sleep(0.1)
        return found

    def action(self, kind: str, *states: ActionState) -> Action:
        """The newest action of a type, once it is in one of these states; any, if none is named."""

        def there() -> Action | None:
            found = self.agent.stores.actions.list(type=kind, limit=1)
            return found[0] if found and (not states or found[0].state in states) else None

        return self.until(f"{kind} is {' or '.join(states) or 'proposed'}", there)

    def beats(self, loop: str) -> Mapping[str, Any]:
        """What the agent's sign of life says of a loop."""
        fact = self.agent.stores.control.fact("beat")
        assert fact is not None
        assert isinstance(fact.value, dict)
        loops = fact.value["loops"]
        assert isinstance(loops, dict)
        found = loops.get(loop, {})
        assert isinstance(found, dict)
        return found

    def await_tick(self, loop: str) -> None:
        """Wait until a loop has ticked once more than it has by now."""
        ticked = self.beats(loop).get("at", 0.0)
        self.until(
            f"{loop} has ticked again", lambda: self.beats(loop).get("at", 0) > ticked or None
        )

    def runs(self, *flows: str) -> list[dict[str, Any]]:
        """The flow runs there were of some flows in our pool, newest last.

        Others that a shared server still has, of other tests, are not ours to look at.
        """
        body = {
            "flows": {"name": {"any_": list(flows)}},
            "work_pools": {"name": {"any_": [self.context.settings.prefect.work_pool]}},
            "sort": "START_TIME_ASC",
        }
        found: list[dict[str, Any]] = self.ask("POST", "/flow_runs/filter", body).json()
        return found

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Ask Prefect what its UI would ask; a server that is too busy just now is asked again."""

        def answer() -> httpx.Response | None:
            url = f"{self.prefect.api_url}{path}"
            found = httpx.request(method, url, json=body, timeout=60)
            return found if found.status_code != httpx.codes.SERVICE_UNAVAILABLE else None

        return self.until("Prefect has time", answer).raise_for_status()

    def knobs(self) -> dict[str, object]:
        """Every knob of every target, as the target reads it."""
        return {
            f"{name}: {knob}": target.read(knob)
            for name, target in self.agent.targets.items()
            for knob in target.knobs()
        }
