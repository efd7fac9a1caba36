"""What people say to the agent: approvals and pauses. No input or output here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word on one exact proposal.

    Attributes:
        digest: of the proposal that was seen; the word holds for no other.
        way: `cli`, `api` or `prefect`.
        expires_at: an approval not acted upon by then is void.
        used_at: when it took effect; it takes effect once.
    """

    id: str
    action_id: str
    digest: str
    approved: bool
    by: str
    way: str
    note: str
    at: float
    expires_at: float
    used_at: float | None = None


@dataclass(frozen=True, slots=True)
class PausedState:
    """Whether the agent may change anything; by whom, why and since when if not."""

    paused: bool
    by: str = ""
    reason: str = ""
    at: float | None = None
