"""The agent's real API in a process of its own, and samples of what it shows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from sqlalchemy import Engine

from config.clock import Clock, epoch
from config.paths import Home
from registry.agent_actions import ActionStore
from registry.agent_records import Action, ActionState
from tests.services.agent_samples import action, decision, numbered
from tests.services.processes import started

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class RunningApi:
    """An API that answers on `url`; `token` may do everything."""

    url: str
    token: str
    pid: int
    home: Home
    log_file: Path

    def client(self, token: str | None = None) -> httpx.Client:
        """A client with that token; without one, with the token that may do everything."""
        headers = {"authorization": f"Bearer {token or self.token}"}
        # There is no TLS, and reading the certificate authorities for it takes 60 ms.
        return httpx.Client(base_url=self.url, headers=headers, timeout=30.0, verify=False)


@contextmanager
def running_api(folder: Path, **settings: object) -> Iterator[RunningApi]:
    """Run the API on a home directory until the block ends.

    Args:
        folder: its home directory.
        settings: more settings, named as in the environment: `API__MAX_PAGE=5`.
    """
    home = Home(folder).create()
    log = home.logs / "api.out"
    environment = {f"PRIME_SPARK_{name}": str(value) for name, value in settings.items()}
    environment |= {"PRIME_SPARK_HOME": str(folder), "PYTHONPATH": str(ROOT)}

    def address() -> str:
        return str(json.loads(home.api_file.read_text())["url"])

    def ready() -> bool:
        return httpx.get(f"{address()}/health/live", timeout=2.0).status_code == httpx.codes.OK

    command = [sys.executable, "-m", "serving.api"]
    with started(command, ready=ready, log=log, env=environment) as process:
        token = home.api_token_file.read_text().strip()
        yield RunningApi(address(), token, process.pid, home, log)


def proposed(
    engine: Engine,
    clock: Clock,
    number: int,
    state: ActionState = ActionState.WAITING_APPROVAL,
    *,
    by: str = "agent",
) -> Action:
    """Record one of many actions that have nothing in common, proposed now."""
    now = epoch(clock.now())
    new = action(
        numbered(number),
        id=f"action-{number}",
        state=state,
        created_at=now,
        updated_at=now,
    )
    if state is ActionState.WAITING_APPROVAL:
        new = replace(new, decision=decision(approval="a person has to look at it"))
    return ActionStore(engine, clock).propose(new, by=by)
