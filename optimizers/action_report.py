"""The published record of an action that has ended.

Importing this imports MLflow; do it where something is about to be published.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from registry.agent_records import Action, Effect
from registry.ledger.events import LedgerEntry
from registry.mlflow_runs import Artefact, Metric, RunRecord


def action_run(action: Action, story: Sequence[LedgerEntry]) -> RunRecord:
    """The MLflow run of an action: predicted and realised gain, and its whole story.

    Args:
        action: as the ledger has it at its end.
        story: its entries of the ledger, oldest first.
    """
    proposal = action.proposal
    return RunRecord(
        key=f"action/{action.id}",
        name=f"{proposal.type} {proposal.subject or proposal.target}",
        kind="actions",
        params={
            "type": proposal.type,
            "target": proposal.target,
            "goal_metric": proposal.goal_metric,
            "risk": f"{proposal.risk:g}",
            "priority": proposal.priority.value,
        },
        metrics=tuple(_metrics(action)),
        tags={
            "action": action.id,
            "state": action.state.value,
            "reason": action.reason,
            "verdict": action.effect.verdict.value if action.effect else "none",
            "approved_by": action.approved_by or "nobody had to",
            "flow_run_id": action.flow_run_id or "none",
            "digest": proposal.digest,
            "ledger_subject": action.id,
        },
        artefacts=(
            Artefact("action.json", _json(asdict(action))),
            Artefact("story.json", _json([_entry(one) for one in story])),
        ),
    )


def _metrics(action: Action) -> list[Metric]:
    expected, decision = action.proposal.expected, action.decision
    found = {
        "predicted_gain": expected.mean,
        "predicted_gain_low": expected.low,
        "predicted_gain_high": expected.high,
        "success_probability": decision.success_probability,
        "score": decision.score,
        **_realised(action.effect),
    }
    return [Metric(name, value, "") for name, value in found.items() if value is not None]


def _realised(effect: Effect | None) -> dict[str, float | None]:
    if effect is None:
        return {}
    return {
        "realised_gain": effect.gain,
        "realised_gain_low": effect.low,
        "realised_gain_high": effect.high,
    }


def _entry(one: LedgerEntry) -> dict[str, object]:
    return {"id": one.id, "at": one.at.isoformat(), "kind": one.kind, "body": one.body}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, default=str).encode()
