"""What is known of the models when it was last looked: what their capabilities decide on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from optimizers.models.watching import ModelView
from optimizers.view import View
from registry.agent_records import Estimate

TARGET = "models"


def alias_knob(model: str, alias: str) -> str:
    """The name of the knob that is an alias of a model."""
    return f"alias:{model}@{alias}"


def retired_knob(model: str, version: int) -> str:
    """The name of the knob that says whether a version is retired."""
    return f"retired:{model}/{version}"


@dataclass(frozen=True, slots=True)
class Update:
    """A model file that is not in the registry yet.

    Attributes:
        source: where it was found, for a reader: a path or a registry's address.
        reference: what the update flow finds it by: the path, or the version over there.
        digest: SHA-256 of the file; empty where it could not be read.
        refused: why it is not taken; empty when it may be.
    """

    model: str
    source: str
    reference: str
    digest: str
    refused: str = ""


class PlaceState(StrEnum):
    """How a deployment target stands to the champion it should have."""

    CURRENT = "current"
    BEHIND = "behind"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Placed:
    """What one deployment target has of one model.

    Attributes:
        champion: the version it should have.
        deployed: the version it has; None for none, or when it cannot be seen.
        deployable: it can be brought there from here.
        detail: a sentence for people.
    """

    place: str
    model: str
    champion: int
    deployed: int | None
    state: PlaceState
    detail: str
    deployable: bool = True


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """All models at one moment.

    Attributes:
        views: what the plan of the life-cycle depends on, by model.
        gains: the measured improvement of versions that won their test, by model and version.
        served: the versions in the predictor's memory, by model; a model is absent when the
            predictor could not be asked.
        updates: files found outside the registry.
        places: the deployment targets, one entry for each model there.
    """

    views: Mapping[str, ModelView] = field(default_factory=dict)
    gains: Mapping[tuple[str, int], Estimate] = field(default_factory=dict)
    served: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    updates: tuple[Update, ...] = ()
    places: tuple[Placed, ...] = ()


def facts_of(view: View) -> ModelFacts:
    """The facts of the target `models`; empty ones before it was seen."""
    found = view.facts.get(TARGET)
    return found if isinstance(found, ModelFacts) else ModelFacts()
