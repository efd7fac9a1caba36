"""The published records of promotions and shadows.

Importing this imports MLflow; do it where something is about to be published.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from optimizers.models.promotion import Promotion
from optimizers.models.shadowing import ShadowReport
from registry.mlflow_runs import Artefact, Metric, RunRecord


def promotion_run(promotion: Promotion, kind: str, flow_run_id: str) -> RunRecord:
    """The MLflow run of a champion's change."""
    record = asdict(promotion) | {"kind": kind, "flow_run_id": flow_run_id}
    return RunRecord(
        key=f"{kind}/{flow_run_id}",
        name=f"{kind} {promotion.model} v{promotion.version}",
        kind=kind,
        params={
            "model": promotion.model,
            "version": str(promotion.version),
            "former": str(promotion.former),
        },
        metrics=(),
        tags={
            "model": promotion.model,
            "model_version": str(promotion.version),
            "reason": promotion.reason,
            "serving": promotion.serving,
            "flow_run_id": flow_run_id,
            "ledger_subject": promotion.model,
        },
        artefacts=(Artefact("decision.json", json.dumps(record, indent=2).encode()),),
    )


def shadow_run(report: ShadowReport, flow_run_id: str) -> RunRecord:
    """The MLflow run of a shadow."""
    experiment, totals = report.experiment, report.totals
    record = {
        "reason": report.reason,
        "experiment": experiment.id,
        "totals": asdict(totals),
        "comparison": None if report.comparison is None else asdict(report.comparison),
    }
    return RunRecord(
        key=f"shadow/{experiment.id}",
        name=f"shadow {experiment.model} v{experiment.challenger}",
        kind="shadow",
        params={
            "model": experiment.model,
            "champion": str(experiment.champion),
            "challenger": str(experiment.challenger),
        },
        metrics=(
            Metric("scored", float(totals.scored), "count"),
            Metric("agreed", float(totals.agreed), "count"),
            Metric("challenger.errors", float(totals.challenger_errors), "count"),
        ),
        tags={
            "model": experiment.model,
            "reason": report.reason,
            "flow_run_id": flow_run_id,
            "ledger_subject": experiment.id,
        },
        artefacts=(Artefact("decision.json", json.dumps(record, indent=2).encode()),),
    )
