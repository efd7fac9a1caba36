"""What the agent looks at and has learned: targets, models, experiments, metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from serving.api import views, world_views
from serving.api.answers import Page
from serving.api.routes.sharing import After, Limit, Name, OptionalName, Reader, Stores, errors
from serving.api.world_answers import (
    ExperimentAnswer,
    ExperimentStory,
    LearnedAnswer,
    ModelsAnswer,
    ModelVersionsAnswer,
    TargetAnswer,
)

router = APIRouter(prefix="/agent", tags=["world"], responses=dict(errors()), dependencies=[Reader])

PathName = Annotated[Name, Path(min_length=1, max_length=200)]


@router.get("/targets")
def targets(stores: Stores, limit: Limit, after: After = None) -> Page[TargetAnswer]:
    """The targets and how they answered last."""
    return world_views.targets(stores, after, limit)


@router.get("/models")
def models(stores: Stores, limit: Limit, after: After = None) -> ModelsAnswer:
    """The models, their aliases and their traffic."""
    return world_views.models(stores, after, limit)


@router.get("/models/{model}", responses=dict(errors(404)))
def model(
    stores: Stores, model: PathName, limit: Limit, after: After = None
) -> ModelVersionsAnswer:
    """A model and its versions, the newest first."""
    return world_views.model(stores, model, after, limit)


@router.get("/experiments")
def experiments(
    stores: Stores, limit: Limit, model: OptionalName = None, after: After = None
) -> Page[ExperimentAnswer]:
    """A/B tests and shadow runs, the newest first."""
    return world_views.experiments(stores, model, after, limit)


@router.get("/experiments/{experiment_id}", responses=dict(errors(404)))
def experiment(stores: Stores, experiment_id: PathName) -> ExperimentStory:
    """An experiment with its looks."""
    return world_views.experiment(stores, experiment_id)


@router.get("/learning")
def learning(stores: Stores, limit: Limit, after: After = None) -> Page[LearnedAnswer]:
    """What was learned of each action type on each target."""
    return views.learned(stores, after, limit)
