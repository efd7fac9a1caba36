"""The published record of a benchmark.

Importing this imports MLflow and Matplotlib; do it where something is about to be published.
"""

from __future__ import annotations

import json

from benchmarks.gate import GateResult
from benchmarks.plots import LatencyCurve, latency_png
from registry.mlflow_runs import Artefact, Metric, RunRecord


def gate_run(result: GateResult, model: str, version: int, flow_run_id: str) -> RunRecord:
    """The MLflow run of a benchmark."""
    arms = [result.candidate] if result.champion is None else [result.candidate, result.champion]
    curves = [
        LatencyCurve.of_samples(f"{name} v{arm.version}", arm.latencies_ms)
        for name, arm in zip(("candidate", "champion"), arms, strict=False)
    ]
    record = json.dumps(result.to_dict(), indent=2, sort_keys=True)
    return RunRecord(
        key=f"benchmark/{flow_run_id}",
        name=f"benchmark {model} v{version}",
        kind="benchmark",
        params={
            "model": model,
            "version": str(version),
            "champion": str(result.champion.version) if result.champion else "none",
        },
        metrics=tuple(Metric(one.name, one.value, one.unit) for one in result.metrics()),
        tags={
            "model": model,
            "model_version": str(version),
            "verdict": result.verdict.value,
            "reason": result.reason,
            "flow_run_id": flow_run_id,
            "ledger_subject": model,
        },
        artefacts=(
            Artefact("decision.json", record.encode()),
            Artefact("latency.png", latency_png(f"{model} v{version}: latency", curves)),
        ),
    )
