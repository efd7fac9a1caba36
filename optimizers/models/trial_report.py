"""The published record of a test: everything its verdict rests on, and pictures of it.

Importing this imports MLflow and Matplotlib; do it where something is about to be published.
"""

from __future__ import annotations

import json

from benchmarks.plots import LatencyCurve, evidence_png, latency_png
from benchmarks.trial_record import to_record
from config.clock import epoch
from optimizers.models.desk import Decision, Desk
from registry.mlflow_runs import Artefact, Metric, RunRecord
from registry.records import Experiment, ExposureTotals, Look, Variant
from registry.sketch import value_of

_UNITS = {"accuracy": "share", "error_rate": "share", "latency_ms": "ms"}


def trial_run(desk: Desk, experiment: Experiment, decision: Decision) -> RunRecord:
    """The MLflow run of a test that is decided."""
    looks = desk.experiments.looks(experiment.id)
    exposures = desk.exposures.totals(experiment.id)
    return RunRecord(
        key=f"ab_test/{experiment.id}/{decision.verdict}",
        name=f"ab_test {experiment.model} v{experiment.challenger} against v{experiment.champion}",
        kind="ab_test",
        params={
            name: json.dumps(value) if isinstance(value, list | dict) else str(value)
            for name, value in experiment.config.model_dump(mode="json").items()
        },
        metrics=tuple(_metrics(experiment, looks, exposures)),
        tags=_tags(experiment, decision),
        artefacts=tuple(_artefacts(experiment, decision, looks, exposures)),
    )


def decision_record(experiment: Experiment, decision: Decision, looks: list[Look]) -> str:
    """The record as JSON; `benchmarks.trial_record.recompute` judges its counts again.

    What the controller decided stands under `controller`: it differs from the last look's verdict
    where a person moved something, cancelled, or a server was away.
    """
    body = json.loads(to_record(experiment.config, looks))
    body["controller"] = {
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "experiment": experiment.id,
        "model": experiment.model,
        "champion": experiment.champion,
        "challenger": experiment.challenger,
        "salt": experiment.salt,
        "weight": experiment.weight,
        "started_at": epoch(experiment.started_at),
        "flow_run_id": experiment.flow_run_id,
        "approvals": [],
    }
    return json.dumps(body, indent=2, sort_keys=True, allow_nan=False)


def _tags(experiment: Experiment, decision: Decision) -> dict[str, str]:
    return {
        "model": experiment.model,
        "champion_version": str(experiment.champion),
        "challenger_version": str(experiment.challenger),
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "flow_run_id": experiment.flow_run_id or "",
        "ledger_subject": experiment.id,
    }


def _metrics(
    experiment: Experiment, looks: list[Look], exposures: dict[Variant, ExposureTotals]
) -> list[Metric]:

    found = [Metric("looks", float(len(looks)), "count")]
    for arm, seen in exposures.items():
        if seen.count:
            found += [
                Metric(f"{arm}.requests", float(seen.count), "count"),
                Metric(f"{arm}.errors", float(seen.errors), "count"),
                Metric(f"{arm}.latency_mean", seen.latency_sum_ms / seen.count, "ms"),
            ]
    if not looks:
        return found
    last, name = looks[-1], experiment.config.success_metric
    found.append(Metric("elapsed", last.elapsed_s, "s"))
    for arm, counts in last.arms.items():
        if counts.metric.count:
            mean = counts.metric.total / counts.metric.count
            found.append(Metric(f"{arm}.{name}", mean, _UNITS.get(name, "")))
            found.append(Metric(f"{arm}.{name}_values", float(counts.metric.count), "count"))
    if last.estimate is not None:
        found.append(Metric("improvement", last.estimate, "share"))
    return found


def _artefacts(
    experiment: Experiment,
    decision: Decision,
    looks: list[Look],
    exposures: dict[Variant, ExposureTotals],
) -> list[Artefact]:

    record = decision_record(experiment, decision, looks).encode()
    return [
        Artefact("decision.json", record),
        Artefact("latency.png", latency_plot(experiment, exposures)),
        Artefact("evidence.png", evidence_plot(experiment, looks)),
    ]


def latency_plot(experiment: Experiment, exposures: dict[Variant, ExposureTotals]) -> bytes:
    """Latency distribution of both arms as PNG."""
    curves = [
        LatencyCurve.of_buckets(
            f"{arm} v{version}",
            [(value_of(bucket), count) for bucket, count in _sketch(exposures, arm).items()],
        )
        for arm, version in (
            (Variant.CHAMPION, experiment.champion),
            (Variant.CHALLENGER, experiment.challenger),
        )
    ]
    return latency_png(f"{experiment.model}: latency in test {experiment.id}", curves)


def evidence_plot(experiment: Experiment, looks: list[Look]) -> bytes:
    """Evidence over time with its boundaries as PNG."""
    return evidence_png(f"{experiment.model}: evidence in test {experiment.id}", looks)


def _sketch(exposures: dict[Variant, ExposureTotals], arm: Variant) -> dict[int, int]:
    return exposures.get(arm, ExposureTotals()).sketch
