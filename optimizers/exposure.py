"""How much of an action's harm would remain if it goes wrong: the exposure of its risk. Pure.

1 means all of it: what cannot be undone, or is not undone because `rollback_on_failure` is off.
A verified, reversible change is undone soon, so only the share of time and traffic until then is
exposed. ADR 007 says why the decision formula needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from config.settings import Settings
from registry.agent_records import Action, ActionState, Proposal

# How long a harmful change would stay if nobody but a person undid it: a day.
_UNATTENDED_S = 86_400.0
# The setting counts like this many measured undos.
_PRIOR_WEIGHT = 4.0
# However fast undos are, the exposure stays at least at this share of the setting.
_FLOOR = 0.5


def exposure_of(proposal: Proposal, settings: Settings, actions: Iterable[Action] = ()) -> float:
    """Return the exposure of a proposal, 0 to 1, from settings and past undos of its type."""
    if exposure_reason(proposal, settings):
        return 1.0
    return _measured(proposal.type, settings.agent.exposure, actions)


def exposure_reason(proposal: Proposal, settings: Settings) -> str:
    """Return why all of the harm would remain; empty where it would be undone."""
    if not proposal.reversible:
        return "it cannot be undone"
    if not settings.safety.rollback_on_failure:
        return "nothing is undone while safety.rollback_on_failure is off"
    return ""


def _measured(kind: str, believed: float, actions: Iterable[Action]) -> float:
    """The setting, moved by the share of a day and of traffic that past undos left exposed."""
    total, count = believed * _PRIOR_WEIGHT, _PRIOR_WEIGHT
    for one in actions:
        share = _exposed(one) if one.proposal.type == kind else None
        if share is not None:
            total += share
            count += 1.0
    return min(max(total / count, _FLOOR * believed), 1.0)


def _exposed(action: Action) -> float | None:
    """The share of a day, times the share of traffic, for which an undone action was in effect."""
    if action.state is not ActionState.ROLLED_BACK:
        return None
    if action.executed_at is None or action.finished_at is None:
        return None
    seconds = max(action.finished_at - action.executed_at, 0.0)
    return min(seconds / _UNATTENDED_S, 1.0) * _traffic(action.proposal)


def _traffic(proposal: Proposal) -> float:
    """The share of traffic an action touches, as its parameter `traffic_split` says; else all."""
    share = proposal.parameters.get("traffic_split")
    if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share):
        return 1.0
    return min(max(float(share), 0.0), 1.0)
