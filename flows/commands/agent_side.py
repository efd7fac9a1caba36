"""Where the commands about the agent get their answers: its API if one runs, else the ledger.

Both give the same answers, for both use the same views. The API is asked first because it knows
who is asking and what they may do; without one, whoever may read the ledger's file may act.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from config.paths import Home
    from flows.commands.world import CommandWorld
    from serving.api.answers import (
        ActionStory,
        ActionSummary,
        AgentAnswer,
        ApproveAnswer,
        ApproveQuestion,
        ExplainAnswer,
        FindingAnswer,
        GoalAnswer,
        GoalQuestion,
        Page,
        PauseAnswer,
        Status,
    )
    from serving.api.world_answers import LearnedAnswer, TargetAnswer


@dataclass(frozen=True, slots=True)
class ActionQuery:
    """Which actions to list; `states` empty for all."""

    states: Sequence[str] = ()
    type: str | None = None
    target: str | None = None
    after: str | None = None
    limit: int = 20


class AgentSide(Protocol):
    """What can be asked of the agent, and told to it.

    Every method raises InputError for what there is not, and UnavailableError when whoever should
    answer does not. Those that change something raise ConflictError when nothing was changed.
    """

    @property
    def where(self) -> str:
        """Who answers, in words."""
        ...

    def status(self) -> Status:
        """Return the agent at a glance."""
        ...

    def agent(self) -> AgentAnswer:
        """Return whether the agent lives and what its loops do."""
        ...

    def actions(self, query: ActionQuery) -> Page[ActionSummary]:
        """Return a page of actions, the newest first."""
        ...

    def action(self, action_id: str) -> ActionStory:
        """Return everything known of an action."""
        ...

    def explain(self, action_id: str) -> ExplainAnswer:
        """Return why an action was decided as it was."""
        ...

    def decide(self, question: ApproveQuestion) -> ApproveAnswer:
        """Approve or reject an action."""
        ...

    def pause(self, reason: str) -> PauseAnswer:
        """Stop new effects."""
        ...

    def resume(self) -> PauseAnswer:
        """Let the agent act again."""
        ...

    def goals(self) -> list[GoalAnswer]:
        """Return the goals and how far each is reached."""
        ...

    def set_goals(self, goals: Sequence[GoalQuestion]) -> list[GoalAnswer]:
        """Replace all goals."""
        ...

    def targets(self, after: str | None = None) -> Page[TargetAnswer]:
        """Return a page of the targets and how they answered last."""
        ...

    def findings(self, after: str | None = None) -> Page[FindingAnswer]:
        """Return a page of what was found and still holds."""
        ...

    def learned(self, after: str | None = None) -> Page[LearnedAnswer]:
        """Return a page of what was learned."""
        ...

    def close(self) -> None:
        """Close what was opened."""
        ...


def open_side(world: CommandWorld) -> AgentSide:
    """Return the API that runs on this home, or the ledger where none answers.

    Raises:
        ConfigError: a setting is wrong.
        LedgerUnavailable: neither answers.
    """
    settings = world.settings()
    url = _api_url(settings.home_dir)
    if url is not None:
        from flows.commands.agent_http import HttpSide

        side = HttpSide(url, settings.home_dir, settings.api.tls_certificate)
        if side.is_there():
            return side
        side.close()
    from flows.commands.agent_local import LocalSide

    return LocalSide(world.context())


def _api_url(home: Home) -> str | None:
    """Where the API said it listens; None when none has said so."""
    try:
        found = json.loads(home.api_file.read_text(encoding="utf-8"))["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
