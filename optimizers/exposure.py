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


def exposure_of(proposal: Proposal, settings: Settings, measured: float | None = None) -> float:
    """Return the exposure of a proposal, 0 to 1.

    `measured` is what past undos of its type showed, see `measured_exposure`; without it the
    setting holds.
    """
    if exposure_reason(proposal, settings):
        return 1.0
    return settings.agent.exposure if measured is None else measured


def exposure_reason(proposal: Proposal, settings: Settings) -> str:
    """Return why all of the harm would remain; empty where it would be undone."""
    if not proposal.reversible:
        return "it cannot be undone"
    if not settings.safety.rollback_on_failure:
        return "nothing is undone while safety.rollback_on_failure is off"
    return ""


def measured_exposure(believed: float, undone: Iterable[Action]) -> float:
    """Return the setting `believed`, moved by what the undone actions of one type left exposed.

    Each counts with the share of a day until it was undone, times its share of traffic.
    """
    shares = [share for share in map(_exposed, undone) if share is not None]
    total = believed * _PRIOR_WEIGHT + sum(shares)
    return min(max(total / (_PRIOR_WEIGHT + len(shares)), _FLOOR * believed), 1.0)


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
