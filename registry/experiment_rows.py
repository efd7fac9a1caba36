"""How experiments and looks are written into and read from rows of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping

from config.clock import epoch, from_epoch
from registry.records import (
    ArmCounts,
    Experiment,
    ExperimentState,
    Look,
    MetricTotals,
    RouteMode,
    TrialVerdict,
    Variant,
)
from registry.trial_config import ABTestConfig


def experiment_to_row(experiment: Experiment) -> dict[str, Any]:
    """The columns of an experiment, without its lease."""
    return {
        "id": experiment.id,
        "model": experiment.model,
        "champion": experiment.champion,
        "challenger": experiment.challenger,
        "mode": experiment.mode.value,
        "salt": experiment.salt,
        "weight": experiment.weight,
        "config": experiment.config.model_dump_json(),
        "state": experiment.state.value,
        "verdict": experiment.verdict.value if experiment.verdict else None,
        "reason": experiment.reason,
        "started_at": epoch(experiment.started_at),
        "finished_at": epoch(experiment.finished_at) if experiment.finished_at else None,
        "flow_run_id": experiment.flow_run_id,
        "run_id": experiment.run_id,
    }


def experiment_from_row(row: RowMapping) -> Experiment:
    """The experiment a row holds."""
    finished = row["finished_at"]
    return Experiment(
        id=row["id"],
        model=row["model"],
        champion=row["champion"],
        challenger=row["challenger"],
        mode=RouteMode(row["mode"]),
        salt=row["salt"],
        weight=row["weight"],
        config=ABTestConfig.model_validate_json(row["config"]),
        state=ExperimentState(row["state"]),
        verdict=TrialVerdict(row["verdict"]) if row["verdict"] else None,
        reason=row["reason"],
        started_at=from_epoch(row["started_at"]),
        finished_at=from_epoch(finished) if finished is not None else None,
        flow_run_id=row["flow_run_id"],
        run_id=row["run_id"],
    )


def look_to_json(look: Look) -> str:
    """A look as canonical JSON; infinities and NaN stay readable for `look_from_json`."""
    return json.dumps(asdict(look), sort_keys=True, separators=(",", ":"))


def look_from_json(text: str) -> Look:
    """Read what `look_to_json` wrote."""
    raw = json.loads(text)
    raw["arms"] = {
        Variant(name): ArmCounts(**(arm | {"metric": MetricTotals(**arm["metric"])}))
        for name, arm in raw["arms"].items()
    }
    if raw["interval"] is not None:
        raw["interval"] = tuple(raw["interval"])
    return Look(**raw)
