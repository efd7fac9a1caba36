"""Batching is tuned on what was recorded: when it speaks up, what it proposes, and when not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import JsonValue

from benchmarks.serving_models import write_model
from config.clock import ManualClock
from config.errors import InputError, UnavailableError
from config.settings import Settings
from optimizers.capability import Tools
from optimizers.performance.batch_inference import BatchInference
from optimizers.performance.batch_study import BatchStudy
from optimizers.targets.serving import ServedArm, ServedModel, ServingFacts, ServingTarget
from optimizers.targets.serving_knobs import ServingKnobs
from optimizers.testing import check_capability
from optimizers.view import Study, View
from registry.agent_records import Change, Observation, Priority
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.traffic import TrafficRing, write_input
from tests.services.live_actions import NoJobs

AT = 10_000.0
NOW: dict[str, float] = {
    "max_batch_size": 1,
    "max_wait_ms": 0.0,
    "intra_op_threads": 1,
    "allow_spinning": 1,
}
THEN: dict[str, JsonValue] = {
    "max_batch_size": 16,
    "max_wait_ms": 0.0,
    "intra_op_threads": 1,
    "allow_spinning": 1,
}


def no_file(model: str, version: int) -> Path:
    raise UnavailableError("the registry does not answer")


def tuner(**changes: object) -> BatchInference:
    settings = Settings.model_validate({"performance": {"batch_inference": changes}})
    return BatchInference(settings, no_file)


def facts_of(traffic: Path | None = None, knobs: Mapping[str, float] = NOW) -> ServingFacts:
    arm = ServedArm(variant="champion", version=3, knobs={**knobs, "queue_limit": 256})
    model = ServedModel(mode="none", weight=0.0, experiment_id=None, arms=(arm,))
    return ServingFacts(
        ready=True, models={"digits": model}, problems={}, stale={}, traffic_folder=traffic
    )


def outcome(setting: object, mean_ms: float, rate: float | None) -> dict[str, Any]:
    return {
        "setting": setting,
        "rate": rate,
        "p99_ms": 3 * mean_ms,
        "mean_ms": mean_ms,
        "cpu_ms": 1,
    }


STUDY: dict[str, Any] = {
    "before": None,
    "current": outcome(NOW, 200.0, None),
    "best": outcome(THEN, 20.0, 900.0),
    "live": outcome(THEN, 20.0, 900.0),
    "gain": {"mean": 0.9, "low": 0.45, "high": 0.92},
    "requests": 5000,
    "rate": 300.0,
    "grid": 150,
    "tried": 12,
    "seconds": 20.0,
    "cpu_s": 15.0,
}


def view_of(
    latency: float = 200.0, *, study: Study | None = None, facts: ServingFacts | None = None
) -> View:
    labels = (("model", "digits"), ("version", "3"))
    seen = [
        Observation(
            "serving", "inference_latency_ms", latency, AT - 30.0 * back, "ms", labels=labels
        )
        for back in reversed(range(6))
    ]
    return View(
        at=AT,
        history={("serving", "inference_latency_ms"): seen},
        facts={"serving": facts or facts_of()},
        studies={("batch_inference", "digits"): study} if study else {},
    )


def test_a_slow_model_is_run_by_the_setting_that_its_study_found() -> None:
    [proposal] = check_capability(tuner(), [view_of(study=Study(AT, STUDY))])
    assert proposal.change == Change("serving/digits.batching", None, THEN)
    assert proposal.goal_metric == 'inference_latency_ms{model="digits",version="3"}'
    assert proposal.risk == 0.4
    assert (proposal.expected.mean, proposal.expected.low) == (0.9, 0.45)
    assert proposal.guardrails == ("error_rate", "throughput_rps")
    assert "up to 16 rows, 1 thread instead of up to 1 rows" in proposal.description


@pytest.mark.parametrize(
    ("p99_ms", "priority"),
    [(99.0, Priority.MEDIUM), (101.0, Priority.HIGH), (None, Priority.HIGH)],
)
def test_missing_the_objective_makes_it_urgent(p99_ms: float | None, priority: Priority) -> None:
    study = {**STUDY, "current": {**STUDY["current"], "p99_ms": p99_ms}}
    [proposal] = check_capability(tuner(), [view_of(study=Study(AT, study))])
    assert proposal.priority is priority


def test_a_quick_model_is_left_alone() -> None:
    assert not tuner().detect(view_of(99.0))
    assert tuner(latency_ms=50.0).detect(view_of(99.0))


def test_without_a_study_there_is_a_finding_and_no_proposal() -> None:
    capability, view = tuner(), view_of()
    [finding] = capability.detect(view)
    assert "200 ms" in finding.text
    assert not capability.propose(finding, view)


def test_a_finding_says_why_nothing_is_proposed() -> None:
    capability = tuner()
    [finding] = capability.detect(view_of(study=Study(AT, None, "no traffic was recorded")))
    assert finding.text.endswith("its batching cannot be tuned: no traffic was recorded")
    [finding] = capability.detect(view_of(study=Study(AT, {**STUDY, "live": None})))
    assert "none is predicted to be better" in finding.text


@pytest.mark.parametrize(
    "view",
    [
        view_of(study=Study(AT, STUDY), facts=facts_of(knobs={**NOW, "max_batch_size": 8})),
        view_of(study=Study(AT - 100_000.0, STUDY)),
        view_of(study=Study(AT, {"of": "another version"})),
    ],
    ids=["changed since", "too old", "not understood"],
)
def test_a_study_that_no_longer_fits_leads_to_nothing(view: View) -> None:
    capability = tuner()
    [finding] = capability.detect(view)
    assert not capability.propose(finding, view)


def test_bounds_that_were_narrowed_since_hold() -> None:
    capability, view = tuner(max_batch_size=8), view_of(study=Study(AT, STUDY))
    [finding] = capability.detect(view)
    assert not capability.propose(finding, view)


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    clock = ManualClock(datetime.fromtimestamp(AT, UTC))
    engine = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    knobs = ServingKnobs(KnobStore(engine, clock))
    yield Tools(
        targets={"serving": ServingTarget("http://127.0.0.1:9", clock, knobs=knobs)},
        jobs=NoJobs(),
        clock=clock,
        wait=lambda _: None,
        sample=lambda *_: {},
    )
    engine.dispose()


def record(folder: Path, rate: float, count: int, seed: int = 1) -> TrafficRing:
    rng = np.random.default_rng(seed)
    ring = TrafficRing(folder, "digits", "worker 1", 10_000)
    for at in np.cumsum(rng.exponential(1.0 / rate, count)):
        ring.add(AT + float(at), 0, 1, 3)
    ring.flush()
    rows = rng.normal(size=(4, 64)).astype(np.float32)
    write_input(folder, "digits", "worker 1", 0, {"X": rows})
    return ring


def test_a_study_finds_the_batch_that_a_model_too_slow_for_single_rows_needs(
    tmp_path: Path, tools: Tools
) -> None:
    path = tmp_path / "model.onnx"
    write_model(path, 12, 1)
    ring = record(tmp_path / "traffic", rate=700.0, count=1500)
    bounds = {"max_batch_size": 16, "max_wait_ms": 1.0, "max_threads": 1}
    settings = Settings.model_validate({"performance": {"batch_inference": bounds}})
    capability = BatchInference(settings, lambda _model, _version: path)
    view = view_of(facts=facts_of(tmp_path / "traffic"))
    [finding] = capability.detect(view)
    value = capability.study(finding, view, tools, 40.0)
    ring.close()
    study = BatchStudy.model_validate(value)
    assert study.requests == 1500
    assert study.rate == pytest.approx(700.0, rel=0.1)
    assert study.tried <= max(1, 0.08 * study.grid)
    assert study.live is not None
    assert study.live.setting.max_batch_size > 1
    assert study.gain is not None
    assert study.gain.mean > 0.3
    # What it found is what is proposed.
    seen = replace(view, studies={("batch_inference", "digits"): Study(AT, value)})
    [proposal] = capability.propose(finding, seen)
    assert proposal.change is not None
    assert proposal.change.after == study.live.setting.model_dump(mode="json")


def test_without_traffic_a_study_says_so(tmp_path: Path, tools: Tools) -> None:
    path = tmp_path / "model.onnx"
    write_model(path, 0, 1)
    capability = BatchInference(Settings(), lambda _model, _version: path)
    for folder, said in (
        (None, "no traffic of digits is recorded on this machine"),
        (tmp_path / "traffic", "no worker has recorded 50 requests for digits version 3 yet"),
    ):
        view = view_of(facts=facts_of(folder))
        [finding] = capability.detect(view)
        with pytest.raises(InputError, match=said):
            capability.study(finding, view, tools, 40.0)


def test_a_study_without_time_is_put_off(tmp_path: Path, tools: Tools) -> None:
    view = view_of(facts=facts_of(tmp_path))
    capability = tuner()
    [finding] = capability.detect(view)
    with pytest.raises(UnavailableError, match="no time left"):
        capability.study(finding, view, tools, 1.0)
    with pytest.raises(UnavailableError, match="registry"):
        capability.study(finding, view, tools, 40.0)
