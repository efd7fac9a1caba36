from __future__ import annotations

from dataclasses import replace

import pytest

from registry.records import ModelSchema, Route, RouteMode, TensorSpec
from serving.plans import Wanted, mismatch, wanted

ROUTE = replace(
    Route.none("digits"),
    revision=3,
    mode=RouteMode.AB,
    experiment_id="exp",
    salt="s",
    champion=1,
    challenger=2,
    weight=0.1,
)


def test_a_route_made_for_this_champion_is_followed() -> None:
    assert wanted(1, ROUTE) == Wanted(1, 2, RouteMode.AB, 0.1, "s", "exp")


@pytest.mark.parametrize(
    ("champion", "route"),
    [
        (1, None),
        (2, ROUTE),
        (5, ROUTE),
        (1, replace(ROUTE, mode=RouteMode.NONE)),
        (1, replace(ROUTE, challenger=None)),
        (1, replace(ROUTE, challenger=1)),
    ],
)
def test_anything_else_leaves_all_traffic_to_the_alias(champion: int, route: Route | None) -> None:
    assert wanted(champion, route) == Wanted(champion)


def schema(name: str = "x", width: int = 2) -> ModelSchema:
    spec = TensorSpec(name, "float32", (None, width))
    return ModelSchema((spec,), (TensorSpec("y", "int64", (None,)),))


def test_only_models_with_the_same_inputs_stand_in_for_each_other() -> None:
    assert mismatch(schema(), schema()) is None
    assert "it takes x float32['any', 3]" in str(mismatch(schema(), schema(width=3)))
    assert "it takes z" in str(mismatch(schema(), schema("z")))
