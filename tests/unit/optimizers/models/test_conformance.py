"""The target `models` and the model actions keep what the seams promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from optimizers.capability import Capability
from optimizers.models.facts import TARGET, ModelFacts, Placed, PlaceState, Update
from optimizers.models.watching import ModelView, Quality
from optimizers.testing.capabilities import check_capability
from optimizers.testing.targets import check_target
from optimizers.view import View
from registry.agent_records import Estimate
from registry.records import MetricTotals, Stage, VersionStage
from tests.services.model_actions import ModelActions, all_capabilities
from tests.services.trial_world import MODEL, START, TrialWorld


@pytest.fixture
def actions(tmp_path: Path) -> Iterator[ModelActions]:
    world = TrialWorld(tmp_path)
    world.registry.add(MODEL, 9, champion=6, previous=5)
    models = {"driver": "agent", "retrain_entrypoint": "train:me", "keep_versions": 2}
    yield ModelActions(world, overrides={"models": models})
    world.engine.dispose()


def test_the_target(actions: ModelActions) -> None:
    check_target(actions.target, others={f"alias:{MODEL}@champion": 4})


def stage(version: int, to: Stage) -> VersionStage:
    return VersionStage(MODEL, version, to, "so", None, None, START)


def views(actions: ModelActions) -> list[View]:
    """Situations that call for each of the eight."""
    versions = tuple(actions.world.registry.versions(MODEL))
    old = {number: stage(number, Stage.RETIRED) for number in range(1, 6)}
    led = old | {6: stage(6, Stage.CHAMPION)}
    done = led | {number: stage(number, Stage.REJECTED) for number in (7, 8, 9)}
    low = Quality(recent=MetricTotals(500, 100.0, 100.0))
    update = Update(MODEL, "drop/toy/a.onnx", "folder:toy/a.onnx", "e" * 64)
    behind = Placed("pi", MODEL, 6, None, PlaceState.BEHIND, "holds nothing")

    def seen(stages: dict[int, VersionStage], quality: Quality = Quality()) -> View:  # noqa: B008
        view = ModelView(MODEL, 6, versions, stages, quality=quality, previous=5)
        gains = {(MODEL, 7): Estimate(0.12, 0.05, 0.2)}
        facts = ModelFacts({MODEL: view}, gains, updates=(update,), places=(behind,))
        return View(at=1_750_000_000.0, facts={TARGET: facts})

    return [
        seen(led),
        seen(led | {7: stage(7, Stage.ACCEPTED)}),
        seen(led | {7: stage(7, Stage.WON)}),
        seen(done, low),
        seen(done, Quality(worse_than_former="worse on late labels")),
    ]


@pytest.mark.parametrize("number", range(8))
def test_a_capability(actions: ModelActions, number: int) -> None:
    one: Capability = all_capabilities(actions.settings)[number]
    made = check_capability(one, views(actions))
    assert {proposal.subject for proposal in made} == {MODEL}


def test_a_promotion_promises_what_its_trial_measured(actions: ModelActions) -> None:
    (promotion,) = [
        proposal
        for one in all_capabilities(actions.settings)
        if one.type == "model_promote"
        for proposal in check_capability(one, views(actions))
    ]
    assert promotion.expected == Estimate(0.12, 0.05, 0.2)
    assert promotion.parameters["measured"] is True


def test_models_do_not_stand_in_each_other_s_way(actions: ModelActions) -> None:
    (one,) = [
        proposal
        for capability in all_capabilities(actions.settings)
        if capability.type == "model_promote"
        for proposal in check_capability(capability, views(actions))
    ]
    other = replace(one, subject="other", change=None)
    assert not one.domains & other.domains
    assert one.domains & replace(one, type="ab_test", change=None).domains
