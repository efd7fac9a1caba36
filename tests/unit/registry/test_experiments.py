"""Experiments and stages: one at a time, concluded by one holder, moved by compare-and-set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock
from config.errors import ConflictError, InputError, StaleToken
from registry.experiments import ExperimentStore, LifecycleStore
from registry.ledger.events import EventLog
from registry.records import (
    ArmCounts,
    Experiment,
    ExperimentState,
    Look,
    MetricTotals,
    RouteMode,
    Stage,
    TrialVerdict,
    Variant,
)
from registry.trial_config import ABTestConfig


def _experiment(clock: ManualClock, id_: str = "t1", model: str = "digits") -> Experiment:
    return Experiment(
        id=id_,
        model=model,
        champion=1,
        challenger=2,
        mode=RouteMode.AB,
        salt="salt",
        weight=0.1,
        config=ABTestConfig(test_id=id_, model=model, model_a=1, model_b=2),
        state=ExperimentState.RUNNING,
        verdict=None,
        reason="",
        started_at=clock.now(),
        flow_run_id="flow-1",
    )


def _look(number: int = 1) -> Look:
    return Look(
        number=number,
        at=10.0,
        elapsed_s=9.5,
        arms={
            Variant.CHAMPION: ArmCounts(90, 1, 2, MetricTotals(80, 70.0, 70.0, 9.0)),
            Variant.CHALLENGER: ArmCounts(),
        },
        information_fraction=0.25,
        z=None,
        boundary=4.3,
        estimate=0.1,
        interval=(float("-inf"), 0.3),
        evidence={"errors": 0.5},
        thresholds={"errors": 100.0},
        verdict="continue",
        reason="too early",
    )


@pytest.fixture
def store(ledger: Engine, clock: ManualClock) -> ExperimentStore:
    return ExperimentStore(ledger, clock)


def test_creating_twice_gives_the_same_experiment(
    store: ExperimentStore, clock: ManualClock
) -> None:
    experiment = _experiment(clock)
    assert store.create(experiment) == experiment
    clock.advance(60)
    again = replace(experiment, started_at=clock.now(), flow_run_id="flow-2")
    assert store.create(again) == experiment
    assert store.get("t1") == experiment
    assert store.get("other") is None
    assert store.running() == store.running("digits") == store.all() == [experiment]
    assert store.running("faces") == []


def test_an_id_stands_for_one_configuration(store: ExperimentStore, clock: ManualClock) -> None:
    store.create(_experiment(clock))
    with pytest.raises(ConflictError, match="weight"):
        store.create(replace(_experiment(clock), weight=0.5))


def test_a_model_has_one_experiment_at_a_time(store: ExperimentStore, clock: ManualClock) -> None:
    store.create(_experiment(clock))
    with pytest.raises(ConflictError, match="t1"):
        store.create(_experiment(clock, "t2"))
    store.create(_experiment(clock, "t3", "faces"))
    store.finish(store.claim("t1", "me", 30), TrialVerdict.KEEP_CHAMPION, "no gain")
    store.create(_experiment(clock, "t2"))


def test_a_live_holder_is_not_pushed_aside(store: ExperimentStore, clock: ManualClock) -> None:
    store.create(_experiment(clock))
    store.claim("t1", "one", 30)
    clock.advance(29)
    with pytest.raises(ConflictError, match="held by one"):
        store.claim("t1", "other", 30)
    clock.advance(2)
    assert store.claim("t1", "other", 30).token == 2


def test_a_given_back_lease_is_free_at_once(store: ExperimentStore, clock: ManualClock) -> None:
    store.create(_experiment(clock))
    stale = store.claim("t1", "one", 30)
    lease = store.claim("t1", "one", 30)
    store.release(stale)
    with pytest.raises(ConflictError):
        store.claim("t1", "other", 30)
    store.release(lease)
    store.claim("t1", "other", 30)


def test_renewing_holds_on(store: ExperimentStore, clock: ManualClock) -> None:
    store.create(_experiment(clock))
    lease = store.claim("t1", "one", 30)
    for _ in range(3):
        clock.advance(20)
        lease = store.renew(lease)
    assert (lease.expires_at - clock.now()).total_seconds() == 30
    with pytest.raises(ConflictError):
        store.claim("t1", "other", 30)


def test_whoever_was_overtaken_can_write_no_more(
    store: ExperimentStore, clock: ManualClock
) -> None:
    store.create(_experiment(clock))
    late = store.claim("t1", "one", 30)
    clock.advance(31)
    store.claim("t1", "other", 30)
    for write in (
        lambda: store.renew(late),
        lambda: store.record_look(late, _look()),
        lambda: store.finish(late, TrialVerdict.PROMOTE, "won"),
    ):
        with pytest.raises(StaleToken, match="claimed by other"):
            write()
    assert store.looks("t1") == []
    assert store.running("digits")


def test_two_processes_under_one_name_are_told_apart(
    store: ExperimentStore, clock: ManualClock
) -> None:
    store.create(_experiment(clock))
    first = store.claim("t1", "flow-1", 30)
    store.claim("t1", "flow-1", 30)
    with pytest.raises(StaleToken):
        store.record_look(first, _look())


def test_looks_come_back_as_recorded(store: ExperimentStore, clock: ManualClock) -> None:
    store.create(_experiment(clock))
    lease = store.claim("t1", "one", 30)
    for look in (_look(1), _look(1), _look(2)):
        store.record_look(lease, look)
    assert store.looks("t1") == [_look(1), _look(2)]
    with pytest.raises(ConflictError, match="look 1"):
        store.record_look(lease, replace(_look(1), z=9.0))


def test_the_end_is_written_once(
    store: ExperimentStore, ledger: Engine, clock: ManualClock
) -> None:
    store.create(_experiment(clock))
    lease = store.claim("t1", "one", 30)
    clock.advance(5)
    ended = store.finish(lease, TrialVerdict.PROMOTE, "better by 12 %")
    clock.advance(5)
    assert store.finish(lease, TrialVerdict.PROMOTE, "better by 12 %") == ended
    assert (ended.state, ended.verdict) == (ExperimentState.FINISHED, TrialVerdict.PROMOTE)
    assert ended.finished_at is not None
    assert (ended.finished_at - ended.started_at).total_seconds() == 5
    for write in (
        lambda: store.finish(lease, TrialVerdict.CANCELLED, "by hand"),
        lambda: store.record_look(lease, _look()),
        lambda: store.renew(lease),
        lambda: store.claim("t1", "one", 30),
    ):
        with pytest.raises(ConflictError, match="has ended"):
            write()
    kinds = [entry.kind for entry in EventLog(ledger, clock).list(subject="t1")]
    assert kinds == ["experiment_started", "experiment_finished"]


def test_links_are_added(store: ExperimentStore, clock: ManualClock) -> None:
    store.create(_experiment(clock))
    store.link("t1", run_id="run-9")
    store.link("t1")
    found = store.get("t1")
    assert found is not None
    assert (found.flow_run_id, found.run_id) == ("flow-1", "run-9")


def test_an_unknown_experiment_is_told(store: ExperimentStore) -> None:
    with pytest.raises(InputError, match="no experiment t9"):
        store.claim("t9", "me", 1)


@pytest.fixture
def stages(ledger: Engine, clock: ManualClock) -> LifecycleStore:
    return LifecycleStore(ledger, clock)


def test_a_version_moves_through_its_stages(stages: LifecycleStore, clock: ManualClock) -> None:
    assert stages.get("digits", 1) is None
    stages.put("digits", 1, None, Stage.FOUND, "new in the registry", flow_run_id="f")
    clock.advance(1)
    moved = stages.put("digits", 1, Stage.FOUND, Stage.REJECTED, "too slow", run_id="r")
    stages.put("digits", 2, None, Stage.FOUND, "new in the registry")
    assert stages.get("digits", 1) == moved
    assert (moved.stage, moved.reason, moved.run_id, moved.at) == (
        Stage.REJECTED,
        "too slow",
        "r",
        clock.now(),
    )
    assert [stage.version for stage in stages.all("digits")] == [1, 2]
    assert stages.all("faces") == []


@pytest.mark.parametrize("expected", [None, Stage.ACCEPTED])
def test_a_stage_somebody_moved_is_left_alone(
    stages: LifecycleStore, expected: Stage | None
) -> None:
    stages.put("digits", 1, None, Stage.FOUND, "new")
    with pytest.raises(ConflictError, match="is found"):
        stages.put("digits", 1, expected, Stage.CHAMPION, "no")
    found = stages.get("digits", 1)
    assert found is not None
    assert found.stage is Stage.FOUND


def test_stages_are_events(stages: LifecycleStore, ledger: Engine, clock: ManualClock) -> None:
    stages.put("digits", 1, None, Stage.FOUND, "new")
    [entry] = EventLog(ledger, clock).list(kind="stage")
    assert entry.body == {"version": 1, "from": None, "to": "found", "reason": "new"}
