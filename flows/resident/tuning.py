"""One capability in the foreground: looked at, decided, carried out and measured, without Prefect.

It is a cycle of the agent over one capability, on the same ledger and under the same rules: limits,
approvals, the kill switch and a person's hand count as always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.errors import InputError
from flows.resident.acting import carry_out
from flows.resident.monitoring import Monitor
from flows.resident.studying import with_studies
from flows.resident.viewing import view_of
from optimizers.planning import CycleResult, plan_cycle
from optimizers.view import Study
from registry.agent_records import Action, ActionState, Finding

if TYPE_CHECKING:
    from flows.resident.world import AgentWorld
    from optimizers.capability import Capability

Say = Callable[[str], None]
Wait = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it.

    Attributes:
        findings: what the capability found; empty when nothing calls for it.
        studies: its closer looks, by subject.
        actions: what was proposed, as the ledger has it afterwards.
        left_out: why proposals, or the capability itself, were left out, in sentences.
    """

    type: str
    findings: tuple[Finding, ...]
    studies: dict[str, Study]
    actions: tuple[Action, ...]
    left_out: tuple[str, ...]

    @property
    def helped(self) -> bool:
        """Whether no action that began ended other than by having helped."""
        ended = [one.state for one in self.actions if one.state.final]
        return all(state in {ActionState.COMPLETED, ActionState.SIMULATED} for state in ended)

    @property
    def in_doubt(self) -> bool:
        """Whether a person has to look."""
        return any(one.state is ActionState.HANDED_OVER for one in self.actions)


def tune(
    world: AgentWorld, kind: str, looks: int, every_s: float, *, wait: Wait, say: Say
) -> Tuned:
    """Look at all targets `looks` times, then do what one capability calls for.

    Args:
        world: stores, targets and capabilities.
        kind: the action type, such as `cache_resize`.
        looks: how often to look before deciding.
        every_s: seconds from look to look.
        wait: lets seconds pass.
        say: tells how far it has come, a sentence each.

    Raises:
        InputError: there is no such capability.
        UnavailableError: the ledger does not answer.
    """
    capability = world.capabilities.get(kind)
    if capability is None:
        known = ", ".join(sorted(world.capabilities)) or "none"
        raise InputError(f"there is no capability {kind!r} in use; there are {known}")
    result, studies = _planned(world, capability, looks, every_s, wait=wait, say=say)
    for finding in result.findings:
        say(f"found: {finding.text}")
    left_out = [f"{one.proposal.description}: {one.reason}" for one in result.skipped]
    left_out += [str(one) for one in result.troubles]
    actions = [
        _carried_out(world, action, result.findings, wait=wait, say=say)
        for action in result.actions
    ]
    return Tuned(kind, tuple(result.findings), studies, tuple(actions), tuple(left_out))


def _planned(
    world: AgentWorld, capability: Capability, looks: int, every_s: float, *, wait: Wait, say: Say
) -> tuple[CycleResult, dict[str, Study]]:
    monitor = Monitor(world)
    for number in range(looks):
        if number:
            wait(every_s)
        say(f"look {number + 1} of {looks}: {monitor.tick().text}")
    alone = {capability.type: capability}
    view = with_studies(world, view_of(world, monitor.look()), alone)
    studies = {
        subject: one for (kind, subject), one in view.studies.items() if kind == capability.type
    }
    for subject, study in studies.items():
        say(f"studied {subject or capability.target}: {study.trouble or 'done'}")
    return plan_cycle(view, alone.values(), world.settings, world.context.ids), studies


def _carried_out(
    world: AgentWorld, action: Action, findings: Sequence[Finding], *, wait: Wait, say: Say
) -> Action:
    proposal = action.proposal
    say(f"proposed: {proposal.description} (expected gain {proposal.expected.mean:+.1%})")
    known = world.stores.actions.propose(action, findings=findings)
    if known.state is not ActionState.SCHEDULED:
        say(f"{known.id} is {known.state}: {known.reason}")
        return known
    done = carry_out(world, known.id, holder=world.holder, wait=wait)
    say(f"{done.id} is {done.state}: {done.reason or 'it waits'}")
    return done
