"""The autonomous agent: `python -m flows.agent` runs it, `get_autonomous_agent()` asks it.

Asking reads the ledger: it works from any process, whether an agent runs or not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import JsonValue

from config.errors import PrimeSparkError
from config.redaction import redact
from config.settings import Settings
from flows.context import Context, open_context
from flows.resident import logs
from flows.resident.world import AgentWorld
from flows.up.signals import StopSignals
from registry.agent_records import Action, ActionState

if TYPE_CHECKING:
    from serving.api.stores import AgentStores

_MOST = 1000
_ENDED = frozenset(state for state in ActionState if state.final)


@dataclass(frozen=True, slots=True)
class CompletedAction:
    """An action that has ended, in the specification's words.

    Attributes:
        status: its last state, such as `completed`, `failed` or `rolled_back`.
        result: `success`, `actual_improvement`, and `error` if it did not succeed.
    """

    action_id: str
    type: str
    description: str
    status: str
    result: Mapping[str, JsonValue]


class AutonomousAgent:
    """The agent as its ledger shows it.

    Raises:
        UnavailableError: from every method, when the ledger does not answer.
    """

    def __init__(self, context: Context) -> None:
        self._world = AgentWorld(context)

    @cached_property
    def _stores(self) -> AgentStores:
        return self._world.stores

    def get_status(self) -> dict[str, JsonValue]:
        """State, uptime, counts of actions, goals and statistics; as `GET /agent/status`."""
        from serving.api import views

        return views.status(self._stores).model_dump(mode="json")

    def get_recent_actions(self, count: int = 10) -> list[dict[str, JsonValue]]:
        """The newest `count` actions, the newest first; as `GET /agent/actions/recent`."""
        from serving.api import views

        return [one.model_dump(mode="json") for one in views.recent_actions(self._stores, count)]

    @property
    def completed_actions(self) -> list[CompletedAction]:
        """The actions that have ended, oldest first; of very many, the last thousand."""
        found = self._stores.actions.list(states=_ENDED, limit=_MOST)
        return [_completed(one) for one in reversed(found)]

    def close(self) -> None:
        """Close the ledger."""
        self._world.close()


def get_autonomous_agent(settings: Settings | None = None) -> AutonomousAgent:
    """The agent of these settings; by default those of this process.

    Raises:
        ConfigError: a setting is wrong.
    """
    return AutonomousAgent(Context(settings) if settings is not None else open_context())


def run_agent(context: Context, *, to_terminal: bool) -> int:
    """Run the resident agent until a signal asks it to stop; return the exit code.

    Raises:
        ConfigError: a setting is wrong, or home and log cannot be used.
        LedgerUnavailable: the ledger does not answer at the start.
    """
    from flows.resident.agent import Resident

    stop = StopSignals()
    with stop.installed():
        home = context.settings.home_dir.create()
        logs.install(context.settings.agent, home.logs, to_terminal=to_terminal)
        world = AgentWorld(context)
        try:
            Resident(world).run(stop.requested)
        finally:
            world.close()
    return 0


def main() -> int:
    """Run the agent with this process's settings; `--quiet` writes to its log file only."""
    try:
        code = run_agent(open_context(), to_terminal="--quiet" not in sys.argv[1:])
    except PrimeSparkError as error:
        sys.stderr.write(f"prime-spark: {redact(str(error))}\n")
        return 1
    sys.stderr.flush()
    # A look that hangs must not hold the end up: everything that counts is in the ledger.
    os._exit(code)


def _completed(action: Action) -> CompletedAction:
    success = action.state is ActionState.COMPLETED
    gain = action.effect.gain if action.effect is not None else None
    result: dict[str, JsonValue] = {"success": success, "actual_improvement": gain}
    if not success:
        result["error"] = action.reason
    proposal = action.proposal
    return CompletedAction(
        action.id, proposal.type, proposal.description, action.state.value, result
    )


if __name__ == "__main__":
    sys.exit(main())
