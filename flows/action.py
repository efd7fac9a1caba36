"""Flow `action`: carries out one action; while it waits for approval the flow run is suspended.

A suspended run is not held in memory: its process ends, and the run begins anew when it is resumed.
Nothing is remembered here, so each beginning reads the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run as this_run
from pydantic import Field

from config.errors import ConflictError
from flows.artefacts import Row, done, run_id, show_table

if TYPE_CHECKING:
    from flows.resident.world import AgentWorld
    from registry.agent_records import Action

ActionId = Annotated[str, Field(title="Action", min_length=1, max_length=100)]

_LEAST_WAIT_S = 60


class ProposalApproval(RunInput):
    """What a person answers to a proposal in Prefect's UI."""

    approved: bool = Field(default=False, title="Approved", description="Off: it is rejected.")
    by: str = Field(default="", title="Your name", description="For the record.", max_length=100)
    note: str = Field(default="", title="Note", max_length=1000)


def _run_name() -> str:
    return f"action-{this_run.parameters['action_id']}"


@flow(name="action", flow_run_name=_run_name, persist_result=False)
def action(action_id: ActionId) -> State[None]:
    """Carry out an action of the agent: apply it, verify that it helped, keep it or undo it.

    An action that waits for approval suspends this run and shows its proposal. Resume it with
    "Approved" to approve exactly that proposal.
    """
    from flows.ab_test import cancellation_asked
    from flows.resident.acting import carry_out, known_action, undo_cancelled
    from flows.resident.world import open_world

    holder = f"flow-run-{run_id()}"
    world = open_world(holder)
    try:
        found = known_action(world, action_id)
        world.stores.actions.link(action_id, flow_run_id=run_id())
        if waits(found):
            answer_of_a_person(world, found)
        return ended(carry_out(world, action_id, holder=holder))
    except TerminationSignal:
        # A worker that is shut down leaves the action to the next process; a person means it.
        if cancellation_asked(world.context):
            undo_cancelled(world, action_id, holder=holder)
        raise
    finally:
        world.close()


def waits(found: Action) -> bool:
    """Whether a person has to say yes first."""
    from registry.agent_records import ActionState

    return found.state is ActionState.WAITING_APPROVAL


def answer_of_a_person(world: AgentWorld, found: Action) -> None:
    """Suspend this run until a person answers, and record the answer.

    The name of the pause holds the proposal's digest: an answer can only be to what was shown.
    """
    from flows.resident.executing import PERSON
    from flows.resident.proposals import proposal_text

    digest, settings = found.proposal.digest, world.settings.agent
    left = found.created_at + settings.approval_expires_seconds - world.now
    answer = suspend_flow_run(
        wait_for_input=ProposalApproval.with_initial_data(
            description=proposal_text(found), approved=False
        ),
        key=f"proposal-{digest[:16]}",
        timeout=max(_LEAST_WAIT_S, int(left)),
    )
    try:
        world.stores.approvals.decide(
            found.id,
            digest,
            approved=answer.approved,
            by=answer.by or PERSON,
            way="prefect",
            note=answer.note,
            expires_s=settings.approval_expires_seconds,
            two_person=settings.two_person_rule,
        )
    except ConflictError as error:
        # Decided another way meanwhile: the ledger says how, and the run goes on from there.
        get_run_logger().info("%s", error)


def ended(after: Action) -> State[None]:
    """Show what came of it, and end the flow run under that name."""
    proposal, effect = after.proposal, after.effect
    row: Row = {
        "action": after.id,
        "type": proposal.type,
        "state": after.state.value,
        "expected gain": proposal.expected.mean,
        "gain": effect.gain if effect else None,
        "verdict": effect.verdict.value if effect else None,
        "reason": after.reason,
    }
    show_table(f"action-{after.id}", [row], proposal.description)
    return done(after.state.value.replace("_", " ").capitalize(), after.reason)
