"""Effects of knobs that live and die with their processes.

A thread that has ended no longer counts, and one that has come since the action began says nothing
about who turned a knob. With the last of them the knob is gone, and nothing is left to put back. A
change that was cut off half-way is made again, or taken back: it is not taken for a stranger's.
"""

from __future__ import annotations

from config.errors import UnavailableError
from optimizers.capability import Seen, Sight, Switch, Tools
from optimizers.knob_effects import KnobEffects
from optimizers.switching import standing_of
from optimizers.targets.base import Guard
from optimizers.targets.processes import ProcessesTarget
from optimizers.targets.processes_values import Standing
from registry.agent_records import Action, ActionState, Effect, Verdict

_PLAIN = {Standing.BEFORE: Sight.BEFORE, Standing.AFTER: Sight.AFTER, Standing.OTHER: Sight.OTHER}


class ProcessEffects(KnobEffects):
    """As those of any knob, but for processes that come and go."""

    def look(self, action: Action, tools: Tools) -> Seen:
        """See how the threads that were there stand to the change."""
        found = _standing(action, tools)
        if found is None:
            return super().look(action, tools)
        knob = action.proposal.change.knob if action.proposal.change else ""
        if found is Standing.GONE:
            return Seen(_gone(action, knob), f"no process for {knob} runs any more")
        sight = _PLAIN[found] if found is not Standing.BETWEEN else _between(action)
        return Seen(
            sight, f"{knob} is as {sight}", tools.targets[action.proposal.target].read(knob)
        )

    def verify(self, action: Action, tools: Tools) -> Effect | Switch | None:
        """Judge as ever, while there is something to judge."""
        if _standing(action, tools) is Standing.GONE:
            return Effect(Verdict.NO_DATA, "the process has ended, so nothing is left to measure")
        return super().verify(action, tools)

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """Put back what those have that are left."""
        if _standing(action, tools) is Standing.GONE:
            guard.check()
        else:
            super().undo(action, guard, tools)


def _standing(action: Action, tools: Tools) -> Standing | None:
    """None for a knob that no process takes along when it ends."""
    target, change = tools.targets[action.proposal.target], action.proposal.change
    if not isinstance(target, ProcessesTarget) or change is None:
        return None
    return target.standing(change, action.executed_at)


def _gone(action: Action, knob: str) -> Sight:
    """Before it is applied there is nothing to do; afterwards nothing to put back."""
    if action.state in {ActionState.SCHEDULED, ActionState.INTENT}:
        raise UnavailableError(f"no process for {knob} runs")
    undoing = action.state is ActionState.ROLLING_BACK
    return Sight.BEFORE if undoing else standing_of(action).stands


def _between(action: Action) -> Sight:
    """Cut off half-way where a write was under way; a stranger's hand at any other time."""
    if action.state is ActionState.INTENT or standing_of(action).to is not None:
        return Sight.BEFORE
    return Sight.AFTER if action.state is ActionState.ROLLING_BACK else Sight.OTHER
