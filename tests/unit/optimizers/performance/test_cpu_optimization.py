"""Scaling decides: when it speaks up, how many it wants, why not more, and when it lets go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from config.clock import SystemClock
from config.settings import Settings
from optimizers.capability import Tools
from optimizers.performance.cpu_optimization import CpuOptimization
from optimizers.performance.cpu_study import study_traffic
from optimizers.targets.replicas import ReplicasTarget
from optimizers.targets.replicas_facts import ReplicasFacts, Room
from optimizers.targets.serving import ServedModel, ServingFacts
from optimizers.targets.serving_knobs import ServingKnobs
from optimizers.testing import check_capability, check_knob_action
from optimizers.view import Study, View
from registry.agent_records import Direction, Finding, Observation, Priority, Proposal
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.traffic import TrafficRing
from tests.services.live_actions import NoJobs

AT = 10_000.0
LOOKS = 12
ROOM = Room(cores=8.0, host_cores=8, available_mb=8000.0, total_mb=16_000.0)
FACTS = ReplicasFacts(written=None, wanted=2, running=2, room=ROOM, worker_mb=150.0)


def scaler(**changes: object) -> CpuOptimization:
    return CpuOptimization(Settings.model_validate({"performance": {"cpu_optimization": changes}}))


def view_of(
    busy: float | Sequence[float] = 90.0,
    *,
    host: float = 40.0,
    rate: float = 900.0,
    facts: ReplicasFacts = FACTS,
    study: JsonValue = None,
) -> View:
    values = [busy] * LOOKS if isinstance(busy, float) else list(busy)
    times = [AT - 30.0 * back for back in reversed(range(len(values)))]
    series = {
        ("replicas", "worker_cpu_percent"): values,
        ("host", "cpu_percent"): [host] * len(values),
        ("serving", "throughput_rps"): [rate] * len(values),
    }
    history = {
        (target, metric): [
            Observation(target, metric, value, at) for value, at in zip(found, times, strict=True)
        ]
        for (target, metric), found in series.items()
    }
    studies = {("cpu_optimization", "predictor"): Study(AT, study)} if study is not None else {}
    return View(at=AT, history=history, facts={"replicas": facts}, studies=studies)


def asked(view: View, **changes: object) -> tuple[list[Finding], list[Proposal]]:
    capability = scaler(**changes)
    findings = list(capability.detect(view))
    return findings, [one for each in findings for one in capability.propose(each, view)]


def test_busy_workers_are_joined_by_as_many_as_bring_them_to_the_target() -> None:
    # 2 × 90 % are 1.8 cores; at 70 % that is 3 workers.
    (finding,), (proposal,) = asked(view_of())
    assert "90 % busy" in finding.text
    assert proposal.change is not None
    assert (proposal.change.before, proposal.change.after) == (None, 3)
    assert proposal.parameters["action"] == "scale_out"
    assert proposal.parameters["target_cpu"] == 70.0
    assert proposal.parameters["predicted_cpu_percent"] == 60.0
    assert proposal.priority is Priority.HIGH
    assert proposal.risk == 0.3
    assert (proposal.goal_metric, proposal.goal_direction) == (
        "worker_cpu_percent",
        Direction.MINIMIZE,
    )
    assert proposal.expected.mean == pytest.approx(1 / 3)


def test_saturated_workers_are_judged_by_latency_for_they_stay_busy() -> None:
    _, (proposal,) = asked(view_of(99.0))
    assert proposal.goal_metric == "inference_latency_ms@serving"
    assert proposal.expected.mean < proposal.expected.high


def test_a_saturated_worker_shows_on_a_machine_that_is_not_busy() -> None:
    one = replace(FACTS, running=1, wanted=1)
    _, (proposal,) = asked(view_of(100.0, host=15.0, facts=one))
    assert proposal.change is not None
    assert proposal.change.after == 2


def test_one_bad_moment_is_no_reason() -> None:
    assert asked(view_of([50.0] * 10 + [99.0, 99.0])) == ([], [])
    assert asked(view_of([99.0] * 11 + [50.0])) == ([], [])


@pytest.mark.parametrize(
    ("room", "host", "why"),
    [
        (replace(ROOM, cores=2.0), 40.0, "2 cores"),
        (ROOM, 96.0, "no further core"),
        (replace(ROOM, available_mb=400.0), 40.0, "free memory"),
    ],
)
def test_without_room_no_worker_is_added_and_the_finding_says_why(
    room: Room, host: float, why: str
) -> None:
    (finding,), proposals = asked(view_of(host=host, facts=replace(FACTS, room=room)))
    assert proposals == []
    assert why in finding.text


def test_the_settings_bound_the_number() -> None:
    _, (proposal,) = asked(view_of(99.0, facts=replace(FACTS, running=4, wanted=4)), max_workers=5)
    assert proposal.change is not None
    assert proposal.change.after == 5
    (finding,), proposals = asked(view_of(), max_workers=2)
    assert proposals == []
    assert "max_workers" in finding.text


def test_a_machine_that_others_keep_busy_gets_no_more_workers() -> None:
    (finding,), proposals = asked(view_of(20.0, host=90.0))
    assert proposals == []
    assert "others use the processor" in finding.text


def test_nothing_is_said_while_workers_come_or_go() -> None:
    assert asked(view_of(facts=replace(FACTS, running=1))) == ([], [])


def test_idle_workers_are_let_go_one_at_a_time_and_only_after_long() -> None:
    four = replace(FACTS, running=4, wanted=4, written=4)
    (finding,), (proposal,) = asked(view_of(10.0, facts=four))
    assert "for long" in finding.text
    assert proposal.change is not None
    assert (proposal.change.before, proposal.change.after) == (4, 3)
    assert proposal.parameters["action"] == "scale_in"
    assert proposal.priority is Priority.LOW
    assert (proposal.goal_metric, proposal.goal_direction) == ("workers", Direction.MINIMIZE)
    assert "inference_latency_p99_ms@serving" in proposal.guardrails
    assert asked(view_of([50.0] + [10.0] * 9, facts=four)) == ([], [])
    assert asked(view_of([10.0] * 9, facts=four)) == ([], [])


def test_the_last_ones_stay() -> None:
    one = replace(FACTS, running=1, wanted=1)
    assert asked(view_of(1.0, facts=one)) == ([], [])
    assert asked(view_of(1.0), min_workers=2) == ([], [])


def test_none_goes_where_the_rest_would_be_too_busy_or_too_slow() -> None:
    # 2 × 29 % would be 58 %: below the target, so one would do …
    _, (proposal,) = asked(view_of(29.0, rate=100.0))
    assert proposal.parameters["predicted_cpu_percent"] == 58.0
    # … but not with a lower target, nor where bursts would make requests wait.
    assert asked(view_of(29.0, rate=100.0), target_cpu=50.0) == ([], [])
    bursts: JsonValue = {"seconds": [0.1, 1.0], "dispersion": [20.0, 60.0], "variability": 1.0}
    assert asked(view_of(29.0, rate=100.0, study=bursts)) == ([], [])


def test_a_study_that_makes_no_sense_is_left_aside() -> None:
    studies: list[JsonValue] = ["?", {"seconds": [1.0], "dispersion": []}, {"variability": "high"}]
    for study in studies:
        _, (proposal,) = asked(view_of(study=study))
        assert proposal.change is not None
        assert proposal.change.after == 3


def test_it_keeps_the_promises_of_the_seam() -> None:
    views = [
        view_of(),
        view_of(99.0),
        view_of(5.0),
        view_of(host=95.0),
        view_of(1.0, rate=0.0),
        View(at=AT),
    ]
    bounds = {"replicas:predictor": (1.0, 8.0)}
    assert len(check_capability(scaler(), views, bounds=bounds)) >= 3


def test_the_number_is_turned_put_back_and_left_to_a_person(tmp_path: Path) -> None:
    engine = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    store = KnobStore(engine, SystemClock())
    target = ReplicasTarget(tmp_path, SystemClock(), ServingKnobs(store))
    capability = scaler()
    _, (proposal,) = asked(view_of())
    check_knob_action(capability.effects, proposal, target, stranger=7)
    assert store.read("serving") == {}, "never written, as it was"
    engine.dispose()


def test_a_rush_that_is_over_keeps_no_workers(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ring = TrafficRing(tmp_path, "m", "w1", 40_000)
    rush = np.cumsum(rng.exponential(1 / 150, 30_000))
    calm = AT - 330.0 + np.cumsum(rng.exponential(1 / 20, 6_500))
    for at in (*(AT - 340.0 - rush[-1] + rush), *calm):
        ring.add(float(at), 0, 1, 1)
    ring.flush()
    settings = Settings.model_validate({"serving": {"latency_objective_ms": 50.0}})
    capability, seen = CpuOptimization(settings), view_of(6.0, rate=20.0, host=20.0)
    served = ServedModel(mode="none", weight=0.0, experiment_id=None, arms=())
    serving = ServingFacts(
        ready=True, models={"m": served}, problems={}, stale={}, traffic_folder=tmp_path
    )
    seen = replace(seen, facts={**seen.facts, "serving": serving})
    [finding] = capability.detect(seen)
    tools = Tools({}, NoJobs(), SystemClock(), lambda _seconds: None, lambda _target, _names: {})
    study = capability.study(finding, seen, tools, 10.0)
    assert isinstance(study, dict)
    assert int(str(study["requests"])) <= 6_500
    known = replace(seen, studies={("cpu_optimization", "predictor"): Study(AT, study)})
    [proposal] = capability.propose(finding, known)
    assert proposal.parameters["action"] == "scale_in"
    whole = Study(AT, study_traffic(tmp_path, ["m"], 0.0))
    ring.close()
    both = replace(seen, studies={("cpu_optimization", "predictor"): whole})
    assert not capability.detect(both), "what the rush would make of it"


def test_the_study_reads_how_recorded_requests_cluster(tmp_path: Path) -> None:
    assert study_traffic(tmp_path, ["m"], AT) is None
    rng = np.random.default_rng(1)
    ring = TrafficRing(tmp_path, "m", "w1", 5000)
    for at in AT + np.cumsum(rng.exponential(0.01, 3000)):
        ring.add(float(at), 0, int(rng.integers(1, 3)), 1)
    ring.flush()
    found = study_traffic(tmp_path, ["m"], AT)
    assert study_traffic(tmp_path, ["m"], AT + 1e6) is None
    ring.close()
    assert isinstance(found, dict)
    assert found["requests"] == 3000
    assert isinstance(found["variability"], float)
    assert 0.25 < found["variability"] < 1.0
    assert isinstance(found["dispersion"], list)
    assert all(isinstance(one, float) and 0.3 < one < 3.0 for one in found["dispersion"])
