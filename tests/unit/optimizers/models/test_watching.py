"""What the watcher plans for a model, from everything it can see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import ModelSettings
from optimizers.models.lifecycle import StepKind
from optimizers.models.watching import (
    ModelView,
    Quality,
    RunState,
    Trial,
    fixes,
    plan,
    unfinished,
)
from registry.records import (
    Experiment,
    ExperimentState,
    MetricTotals,
    ModelVersion,
    RouteMode,
    Stage,
    VersionStage,
)
from registry.trial_config import ABTestConfig

AT = datetime(2025, 6, 1, tzinfo=UTC)
SETTINGS = ModelSettings(retrain_entrypoint="mine:train")


def view(
    stages: Mapping[int, Stage], *, versions: int, champion: int | None, **more: object
) -> ModelView:
    return ModelView(
        model="toy",
        champion=champion,
        versions=tuple(version(number + 1) for number in range(versions)),
        stages={
            number: VersionStage("toy", number, stage, "so", f"run-{number}", None, AT)
            for number, stage in stages.items()
        },
        **more,  # type: ignore[arg-type]
    )


def version(number: int) -> ModelVersion:
    return ModelVersion("toy", number, "0" * 64, None, {}, None, AT, None, "", {}, False)


def trial(*, held: bool, mode: RouteMode = RouteMode.AB) -> Trial:
    config = ABTestConfig(test_id="t", model="toy", model_a=1, model_b=2)
    experiment = Experiment(
        "t", "toy", 1, 2, mode, "t", 0.1, config, ExperimentState.RUNNING, None, "", AT,
        flow_run_id="run-t",
    )  # fmt: skip
    return Trial(experiment, held=held, token=4)


def planned(seen: ModelView, settings: ModelSettings = SETTINGS) -> list[tuple[StepKind, int]]:
    return [(step.kind, step.version) for step in plan(seen, settings)]


def test_a_new_version_is_benchmarked() -> None:
    seen = view({1: Stage.CHAMPION}, versions=2, champion=1)
    assert planned(seen) == [(StepKind.BENCHMARK, 2)]


def test_of_several_new_versions_the_oldest_comes_first_and_alone() -> None:
    seen = view({1: Stage.CHAMPION}, versions=4, champion=1)
    assert planned(seen) == [(StepKind.BENCHMARK, 2)]


def test_a_new_version_waits_for_the_trial_of_another() -> None:
    seen = view({1: Stage.CHAMPION, 2: Stage.TRIAL}, versions=3, champion=1, trial=trial(held=True))
    assert planned(seen) == []


def test_two_accepted_versions_do_not_wait_for_each_other() -> None:
    stages = {1: Stage.CHAMPION, 2: Stage.ACCEPTED, 3: Stage.ACCEPTED}
    assert planned(view(stages, versions=3, champion=1)) == [(StepKind.AB_TEST, 2)]


def test_versions_older_than_the_champion_are_history() -> None:
    seen = view({}, versions=5, champion=5)
    assert planned(seen) == []
    told = {fix.version: fix.to for fix in fixes(seen)}
    assert told == dict.fromkeys(range(1, 5), Stage.RETIRED) | {5: Stage.CHAMPION}


def test_without_a_champion_only_the_newest_version_is_taken() -> None:
    assert planned(view({}, versions=5, champion=None)) == [(StepKind.BENCHMARK, 5)]


def test_a_retired_version_is_left_alone() -> None:
    seen = view({1: Stage.CHAMPION}, versions=2, champion=1)
    gone = replace(seen.versions[1], retired=True)
    assert planned(replace(seen, versions=(seen.versions[0], gone))) == []


def test_a_champion_moved_by_a_person_is_recorded_as_such() -> None:
    seen = view({1: Stage.CHAMPION, 2: Stage.KEPT}, versions=2, champion=2)
    assert {fix.version: fix.to for fix in fixes(seen)} == {1: Stage.RETIRED, 2: Stage.CHAMPION}


def test_fixes_once_made_are_not_found_again() -> None:
    seen = view({1: Stage.RETIRED, 2: Stage.CHAMPION}, versions=2, champion=2)
    assert fixes(seen) == ()


def test_a_test_whose_controller_died_goes_on_under_its_id() -> None:
    seen = view(
        {1: Stage.CHAMPION, 2: Stage.TRIAL}, versions=2, champion=1, trial=trial(held=False)
    )
    (step,) = plan(seen, SETTINGS)
    assert (step.kind, step.test_id) == (StepKind.AB_TEST, "t")


def test_a_test_with_a_living_controller_is_left_alone() -> None:
    stages = {1: Stage.CHAMPION, 2: Stage.TRIAL}
    assert planned(view(stages, versions=2, champion=1, trial=trial(held=True))) == []


def test_a_test_whose_run_was_cancelled_is_ended() -> None:
    seen = view(
        {1: Stage.CHAMPION, 2: Stage.TRIAL},
        versions=2,
        champion=1,
        trial=trial(held=False),
        runs={"run-t": RunState.CANCELLED},
    )
    (step,) = plan(seen, SETTINGS)
    assert (step.kind, step.test_id) == (StepKind.CANCEL, "t")


def test_a_shadow_without_a_controller_is_ended() -> None:
    left = trial(held=False, mode=RouteMode.SHADOW)
    seen = view({1: Stage.CHAMPION}, versions=1, champion=1, trial=left)
    assert planned(seen) == [(StepKind.CANCEL, 2)]


def test_a_version_left_at_trial_after_its_test_is_found() -> None:
    seen = view({1: Stage.CHAMPION, 2: Stage.TRIAL}, versions=2, champion=1)
    assert unfinished(seen) == {2}


def test_a_benchmark_that_died_is_started_again() -> None:
    seen = view(
        {1: Stage.CHAMPION, 2: Stage.BENCHMARKING},
        versions=2,
        champion=1,
        abandoned=frozenset({2}),
    )
    assert planned(seen) == [(StepKind.BENCHMARK, 2)]


def test_a_benchmark_at_work_is_left_alone() -> None:
    stages = {1: Stage.CHAMPION, 2: Stage.BENCHMARKING}
    assert planned(view(stages, versions=3, champion=1)) == []


def test_a_benchmark_that_a_person_cancelled_is_not_started_again() -> None:
    seen = view(
        {1: Stage.CHAMPION, 2: Stage.BENCHMARKING},
        versions=2,
        champion=1,
        abandoned=frozenset({2}),
        runs={"run-2": RunState.CANCELLED},
    )
    (fix,) = fixes(seen)
    assert (fix.version, fix.to) == (2, Stage.FAILED)


def quality(right: int, of: int, **more: object) -> Quality:
    return Quality(recent=MetricTotals(of, right, right), **more)  # type: ignore[arg-type]


def test_a_degraded_champion_is_retrained_once_in_the_cool_down() -> None:
    seen = view({1: Stage.CHAMPION}, versions=1, champion=1, quality=quality(79, 100))
    (step,) = plan(seen, SETTINGS)
    assert step.kind is StepKind.RETRAIN
    assert "0.790" in step.reason
    assert step.key == plan(seen, SETTINGS)[0].key


@pytest.mark.parametrize(
    ("told", "settings"),
    [
        (quality(80, 100), SETTINGS),
        (quality(10, 99), SETTINGS),
        (quality(0, 0), SETTINGS),
        (quality(79, 100, retrained_recently=True), SETTINGS),
        (quality(79, 100), ModelSettings()),
    ],
    ids=["good enough", "too few labels", "no labels", "cooling down", "no entry point"],
)
def test_nothing_is_retrained_without_need_and_means(
    told: Quality, settings: ModelSettings
) -> None:
    seen = view({1: Stage.CHAMPION}, versions=1, champion=1, quality=told)
    assert planned(seen, settings) == []


def test_a_champion_worse_than_the_one_before_it_is_rolled_back() -> None:
    worse = quality(79, 100, worse_than_former="accuracy 0.79 against 0.95")
    seen = view({1: Stage.RETIRED, 2: Stage.CHAMPION}, versions=2, champion=2, quality=worse)
    assert planned(seen) == [(StepKind.ROLLBACK, 2)]


@given(
    stages=st.dictionaries(st.integers(1, 6), st.sampled_from(Stage), max_size=6),
    champion=st.none() | st.integers(1, 6),
    on_trial=st.booleans(),
)
def test_at_most_one_version_is_started_and_the_plan_is_the_same_twice(
    stages: dict[int, Stage], champion: int | None, on_trial: bool
) -> None:
    seen = view(stages, versions=6, champion=champion, trial=trial(held=True) if on_trial else None)
    steps = plan(seen, SETTINGS)
    assert steps == plan(seen, SETTINGS)
    into_traffic = [one for one in steps if one.kind in {StepKind.AB_TEST, StepKind.BENCHMARK}]
    assert len(into_traffic) <= (0 if on_trial else 1)
    assert len({one.key for one in steps}) == len(steps)
