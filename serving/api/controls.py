"""What people may do to the agent: approve, reject, pause, resume, set goals.

Each is one transaction of the ledger that also records who did it; the answer tells what holds
afterwards. Shared by the API and the command line.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.agent_records import Direction, Goal
from serving.api import views
from serving.api.answers import (
    ApproveAnswer,
    ApproveQuestion,
    GoalAnswer,
    GoalQuestion,
    PauseAnswer,
)
from serving.api.stores import AgentStores


def decide(stores: AgentStores, question: ApproveQuestion, *, by: str, way: str) -> ApproveAnswer:
    """Approve or reject a waiting action, once.

    Without a digest, the person's word is taken to be about the proposal as it is now.

    Args:
        stores: where the action is.
        question: the word on it.
        by: who says it.
        way: `api` or `cli`.

    Raises:
        NotFound: there is no such action.
        ConflictError: it does not wait, was decided already, has expired, is another proposal, or
            was proposed by the same person under the two-person rule; nothing was changed.
    """
    found = views.known_action(stores, question.action_id)
    digest = question.digest or found.proposal.digest
    agent = stores.settings.agent
    stores.approvals.decide(
        found.id,
        digest,
        question.approved,
        by,
        way,
        question.note,
        expires_s=agent.approval_expires_seconds,
        two_person=agent.two_person_rule,
    )
    now = views.known_action(stores, found.id)
    return ApproveAnswer(
        action_id=found.id,
        approved=question.approved,
        status=now.state.value,
        by=by,
        digest=digest,
    )


def pause(stores: AgentStores, *, by: str, reason: str = "") -> PauseAnswer:
    """Stop new effects; what is in flight is brought to a safe state."""
    stores.control.pause(by, reason)
    return views.paused(stores)


def resume(stores: AgentStores, *, by: str) -> PauseAnswer:
    """Let the agent act again; the pause file, if there is one, is taken away."""
    stores.control.resume(by, stores.home.pause_file)
    return views.paused(stores)


def set_goals(stores: AgentStores, wanted: Sequence[GoalQuestion], *, by: str) -> list[GoalAnswer]:
    """Replace the goals; they hold until they are set again, whatever the settings say.

    Raises:
        InputError: two goals have the same id.
    """
    stores.control.set_goals([_goal(one) for one in wanted], by)
    return views.goals(stores)


def _goal(question: GoalQuestion) -> Goal:
    return Goal(
        question.goal_id or question.metric_name,
        question.metric_name,
        question.target_value,
        Direction(question.direction),
        question.weight,
    )
