"""What comes next for a version, from where it stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from optimizers.models.lifecycle import Nothing, Situation, Step, StepKind, next_step, trial_id
from registry.records import Stage, VersionStage

AT = datetime(2025, 6, 1, tzinfo=UTC)


def standing(stage: Stage | None, **changes: object) -> Situation:
    where = None if stage is None else VersionStage("toy", 2, stage, "so", "flow", None, AT)
    return Situation(model="toy", version=2, stage=where, champion=1, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        (None, StepKind.BENCHMARK),
        (Stage.FOUND, StepKind.BENCHMARK),
        (Stage.ACCEPTED, StepKind.AB_TEST),
        (Stage.WON, StepKind.PROMOTE),
    ],
)
def test_a_version_on_its_way_takes_the_next_step(stage: Stage | None, kind: StepKind) -> None:
    step = next_step(standing(stage))
    assert isinstance(step, Step)
    assert step.kind is kind


@pytest.mark.parametrize(
    "stage",
    [
        Stage.BENCHMARKING,
        Stage.REJECTED,
        Stage.TRIAL,
        Stage.KEPT,
        Stage.STOPPED,
        Stage.INVALIDATED,
        Stage.PROMOTING,
        Stage.RETIRED,
        Stage.FAILED,
    ],
)
def test_a_version_at_work_or_at_its_end_is_left_alone(stage: Stage) -> None:
    assert isinstance(next_step(standing(stage)), Nothing)


@pytest.mark.parametrize(
    ("stage", "kind"),
    [(Stage.BENCHMARKING, StepKind.BENCHMARK), (Stage.PROMOTING, StepKind.PROMOTE)],
)
def test_work_whose_run_died_is_done_again(stage: Stage, kind: StepKind) -> None:
    step = next_step(standing(stage, abandoned=True))
    assert isinstance(step, Step)
    assert step.kind is kind


def test_the_first_version_is_promoted_without_a_trial_and_it_says_why() -> None:
    at = standing(Stage.ACCEPTED)
    step = next_step(Situation(at.model, at.version, at.stage, champion=None))
    assert isinstance(step, Step)
    assert step.kind is StepKind.PROMOTE
    assert "no champion to try it against" in step.reason


@pytest.mark.parametrize("stage", [None, Stage.ACCEPTED])
def test_a_busy_model_makes_the_next_version_wait(stage: Stage | None) -> None:
    found = next_step(standing(stage, busy="version 3 is in a test"))
    assert found == Nothing("waits: version 3 is in a test")


def test_a_won_trial_waits_for_a_person_when_told_to() -> None:
    found = next_step(standing(Stage.WON, auto_promote=False))
    assert isinstance(found, Nothing)
    assert "person" in found.reason


def test_the_champion_needs_nothing() -> None:
    at = standing(Stage.CHAMPION)
    assert isinstance(next_step(Situation("toy", 2, at.stage, champion=2)), Nothing)


def test_a_half_done_promotion_is_finished_although_the_alias_has_moved() -> None:
    at = standing(Stage.PROMOTING)
    found = next_step(Situation("toy", 2, at.stage, champion=2, abandoned=True))
    assert isinstance(found, Step)
    assert found.kind is StepKind.PROMOTE


def test_the_same_state_gives_the_same_key_and_a_later_one_another() -> None:
    first, again = next_step(standing(Stage.ACCEPTED)), next_step(standing(Stage.ACCEPTED))
    later = VersionStage("toy", 2, Stage.ACCEPTED, "so", "flow", None, AT + timedelta(seconds=1))
    other = next_step(Situation("toy", 2, later, champion=1))
    assert isinstance(first, Step)
    assert isinstance(other, Step)
    assert first == again
    assert first.key != other.key
    assert first.test_id != other.test_id


def test_a_trial_has_one_id_for_each_acceptance() -> None:
    stage = VersionStage("toy", 2, Stage.ACCEPTED, "so", None, None, AT)
    assert trial_id("toy", 1, stage) == trial_id("toy", 1, stage)
    assert trial_id("toy", 1, stage) != trial_id("toy", 3, stage)
