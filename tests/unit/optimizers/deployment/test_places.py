"""Deployment targets: current, behind or unreachable, and bringing a version to a remote one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ConflictError
from config.settings import DeploymentTargetSettings
from optimizers.deployment.places import Places, place_of
from optimizers.deployment.remote import NamedAliases, Remote
from optimizers.models.facts import PlaceState
from optimizers.models.watching import ModelView
from registry.aliases import AliasMover
from tests.services.processes import free_port
from tests.services.small_predictor import SmallPredictor, small_predictor
from tests.services.small_registry import SmallRegistry
from tests.services.trial_world import MODEL, TrialWorld

THERE = "http://there"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TrialWorld]:
    made = TrialWorld(tmp_path)
    made.registry.add(MODEL, 2, champion=2)
    yield made
    made.engine.dispose()


@pytest.fixture
def there(tmp_path: Path) -> SmallRegistry:
    """Another registry: its version 1 is the same file as ours, its version 2 as our version 2."""
    return SmallRegistry(tmp_path / "there.json").add(MODEL, 2, champion=1)


@pytest.fixture
def predictor(there: SmallRegistry) -> Iterator[SmallPredictor]:
    with small_predictor(there) as running:
        yield running


def view(world: TrialWorld) -> ModelView:
    champion = world.registry.aliases(MODEL)["champion"]
    return ModelView(MODEL, champion, tuple(world.registry.versions(MODEL)), {})


def state(world: TrialWorld, there: SmallRegistry, target: DeploymentTargetSettings) -> PlaceState:
    (placed,) = Places([target], lambda _address: there).see([view(world)])
    assert placed.detail
    return placed.state


def remote(predictor: SmallPredictor, registry: str | None = THERE) -> DeploymentTargetSettings:
    return DeploymentTargetSettings(
        name="berlin", kind="remote", url=predictor.url, registry=registry
    )


def deployer(world: TrialWorld, there: SmallRegistry, url: str) -> Remote:
    aliases = NamedAliases("berlin", there)
    mover = AliasMover(world.engine, world.clock, aliases)
    return Remote(url, aliases, mover, world.clock, world.clock.advance, 5.0)


def test_a_remote_predictor_is_brought_up_to_the_champion(
    world: TrialWorld, there: SmallRegistry, predictor: SmallPredictor
) -> None:
    assert state(world, there, remote(predictor)) is PlaceState.BEHIND
    deployer(world, there, predictor.url).deploy(MODEL, 2, "our version 2")
    assert there.aliases(MODEL) == {"champion": 2, "previous": 1}
    assert state(world, there, remote(predictor)) is PlaceState.CURRENT
    assert world.registry.aliases(MODEL) == {"champion": 2}


def test_one_that_does_not_follow_gets_its_aliases_back(
    world: TrialWorld, there: SmallRegistry, predictor: SmallPredictor
) -> None:
    predictor.stuck[MODEL] = 1
    with pytest.raises(ConflictError, match="did not serve"):
        deployer(world, there, predictor.url).deploy(MODEL, 2, "our version 2")
    assert there.aliases(MODEL) == {"champion": 1}


def test_one_that_is_away_is_unreachable_and_no_error(
    world: TrialWorld, there: SmallRegistry
) -> None:
    target = DeploymentTargetSettings(
        name="berlin", kind="remote", url=f"http://127.0.0.1:{free_port()}"
    )
    assert state(world, there, target) is PlaceState.UNREACHABLE


def test_a_registry_that_is_away_makes_its_predictor_unreachable(
    world: TrialWorld, there: SmallRegistry, predictor: SmallPredictor
) -> None:
    there.fail()
    assert state(world, there, remote(predictor)) is PlaceState.UNREACHABLE


def test_one_that_follows_our_registry_cannot_be_deployed_to(
    world: TrialWorld, there: SmallRegistry, predictor: SmallPredictor
) -> None:
    places = Places([remote(predictor, None)], lambda _address: there)
    (placed,) = places.see([view(world)])
    assert (placed.state, placed.deployable) == (PlaceState.BEHIND, False)


def test_an_edge_folder_that_is_not_there_is_unreachable(
    world: TrialWorld, there: SmallRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    target = DeploymentTargetSettings(name="pi", kind="edge", folder=folder)
    assert state(world, there, target) is PlaceState.UNREACHABLE
    folder.mkdir()
    assert state(world, there, target) is PlaceState.BEHIND


def test_only_the_models_of_a_target_count(
    world: TrialWorld, there: SmallRegistry, predictor: SmallPredictor
) -> None:
    target = remote(predictor).model_copy(update={"models": ("other",)})
    assert list(Places([target], lambda _address: there).see([view(world)])) == []


@pytest.mark.parametrize("model", ["..", ".", "../x", "a/b", "/etc", "a b"])
def test_no_model_s_name_leads_out_of_an_edge_folder(tmp_path: Path, model: str) -> None:
    assert place_of(tmp_path, model).resolve().parent == tmp_path
