"""How the agent's records are written into and read from rows of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping

from config.errors import InputError
from registry.agent_people import Approval
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Decision,
    Direction,
    Effect,
    Estimate,
    Finding,
    Priority,
    Proposal,
    Severity,
    Verdict,
    canonical_json,
)

_AS_THEY_ARE = (
    "id",
    "reason",
    "created_at",
    "updated_at",
    "due_at",
    "deadline_at",
    "holder",
    "token",
    "lease_expires_at",
    "approved_by",
    "approval_id",
    "flow_run_id",
    "run_id",
    "undo_failures",
    "executed_at",
    "finished_at",
)


def action_to_row(action: Action) -> dict[str, Any]:
    """The columns of an action."""
    proposal, effect = action.proposal, action.effect
    row: dict[str, Any] = {name: getattr(action, name) for name in _AS_THEY_ARE}
    return row | {
        "type": proposal.type,
        "target": proposal.target,
        "advice_id": proposal.advice_id,
        "state": action.state.value,
        "priority": proposal.priority.rank,
        "digest": proposal.digest,
        "proposal": canonical_json(asdict(proposal)),
        "decision": canonical_json(asdict(action.decision)),
        "intent": canonical_json(dict(action.intent)),
        "progress": canonical_json(dict(action.progress)),
        "effect": canonical_json(asdict(effect)) if effect is not None else None,
        "gain": effect.gain if effect is not None else None,
    }


def action_from_row(row: RowMapping) -> Action:
    """The action a row holds."""
    return Action(
        **{name: row[name] for name in _AS_THEY_ARE},
        proposal=proposal_from_json(row["proposal"]),
        decision=_decision(row["decision"]),
        state=ActionState(row["state"]),
        intent=json.loads(row["intent"]),
        progress=json.loads(row["progress"]),
        effect=_effect(row["effect"]),
    )


def proposal_from_json(text: str) -> Proposal:
    """Read a proposal as it was written; its digest is the same again."""
    raw = json.loads(text)
    raw["priority"] = Priority(raw["priority"])
    raw["goal_direction"] = Direction(raw["goal_direction"])
    raw["expected"] = Estimate(**raw["expected"])
    raw["change"] = Change(**raw["change"]) if raw["change"] is not None else None
    for name in ("guardrails", "conflicts", "finding_ids"):
        raw[name] = tuple(raw[name])
    return Proposal(**raw)


def finding_to_json(finding: Finding) -> str:
    """A finding as canonical JSON."""
    return canonical_json(asdict(finding))


def finding_from_json(text: str) -> Finding:
    """Read what `finding_to_json` wrote."""
    raw = json.loads(text)
    return Finding(**(raw | {"severity": Severity(raw["severity"])}))


def approval_from_row(row: RowMapping) -> Approval:
    """The approval a row holds."""
    return Approval(**(dict(row) | {"approved": bool(row["approved"])}))


def checked_text(text: str, name: str, *, limit: int = 1000) -> str:
    """Return a person's text if every database can hold it.

    Raises:
        InputError: it is longer than `limit` characters, or no plain text.
    """
    if len(text) > limit:
        raise InputError(f"{name} has {len(text)} characters; use at most {limit}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} holds half of a character pair; use plain text") from None
    if "\x00" in text:
        raise InputError(f"{name} holds a zero character; use plain text")
    return text


def _decision(text: str) -> Decision:
    raw = json.loads(text)
    for name in ("reasons", "would_change"):
        raw[name] = tuple(raw[name])
    return Decision(**raw)


def _effect(text: str | None) -> Effect | None:
    if text is None:
        return None
    raw = json.loads(text)
    raw["verdict"] = Verdict(raw["verdict"])
    raw["worsened"] = tuple(raw["worsened"])
    return Effect(**raw)
