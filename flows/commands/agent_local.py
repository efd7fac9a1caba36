"""The agent's ledger asked directly, where no API runs."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING

from config.errors import InputError
from registry.agent_records import ActionState
from registry.ledger.database import describe
from serving.api import controls, views, world_views
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
from serving.api.stores import AgentStores
from serving.api.world_answers import LearnedAnswer, TargetAnswer

if TYPE_CHECKING:
    from flows.commands.agent_side import ActionQuery
    from flows.context import Context


class LocalSide:
    """Answers from the stores of one ledger; what is told is recorded under the user's name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stores = AgentStores.of(context.engine, context.settings, context.clock)
        self._by = getpass.getuser()

    @property
    def where(self) -> str:
        """The ledger's address."""
        return f"the ledger {describe(self._context.engine)}; no API runs"

    def status(self) -> Status:
        """Return the agent at a glance."""
        return views.status(self._stores)

    def agent(self) -> AgentAnswer:
        """Return whether the agent lives and what its loops do."""
        return views.agent(self._stores)

    def actions(self, query: ActionQuery) -> Page[ActionSummary]:
        """Return a page of actions, the newest first."""
        return views.actions(
            self._stores,
            [_state(one) for one in query.states] or None,
            type=query.type,
            target=query.target,
            after=query.after,
            limit=query.limit,
        )

    def action(self, action_id: str) -> ActionStory:
        """Return everything known of an action."""
        return views.action(self._stores, action_id)

    def explain(self, action_id: str) -> ExplainAnswer:
        """Return why an action was decided as it was."""
        return views.explain(self._stores, action_id)

    def decide(self, question: ApproveQuestion) -> ApproveAnswer:
        """Approve or reject an action."""
        return controls.decide(self._stores, question, by=self._by, way="cli")

    def pause(self, reason: str) -> PauseAnswer:
        """Stop new effects."""
        return controls.pause(self._stores, by=self._by, reason=reason)

    def resume(self) -> PauseAnswer:
        """Let the agent act again."""
        return controls.resume(self._stores, by=self._by)

    def goals(self) -> list[GoalAnswer]:
        """Return the goals and how far each is reached."""
        return views.goals(self._stores)

    def set_goals(self, goals: Sequence[GoalQuestion]) -> list[GoalAnswer]:
        """Replace all goals."""
        return controls.set_goals(self._stores, goals, by=self._by)

    def targets(self, after: str | None = None) -> Page[TargetAnswer]:
        """Return a page of the targets and how they answered last."""
        return world_views.targets(self._stores, after)

    def findings(self, after: str | None = None) -> Page[FindingAnswer]:
        """Return a page of what was found and still holds."""
        return views.findings(self._stores, after)

    def learned(self, after: str | None = None) -> Page[LearnedAnswer]:
        """Return a page of what was learned."""
        return views.learned(self._stores, after)

    def close(self) -> None:
        """Close the ledger."""
        self._context.close()


def _state(name: str) -> ActionState:
    try:
        return ActionState(name)
    except ValueError:
        known = ", ".join(state.value for state in ActionState)
        raise InputError(f"{name!r} is no state of an action; use {known}") from None
