"""When the flows of the life-cycle hold back, on a real ledger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from config.settings import Settings
from flows.context import Context
from flows.permission import Permission, permission
from flows.watch_models import allowed
from optimizers.models.lifecycle import Step, StepKind
from registry.agent_control import ControlStore


def context(home: Path, **settings: Mapping[str, object]) -> Context:
    return Context(Settings.model_validate({"home": home, **settings}))


def test_by_default_steps_are_started(tmp_path: Path) -> None:
    assert permission(context(tmp_path)) == Permission()


@pytest.mark.parametrize(
    ("settings", "effects"),
    [
        ({"safety": {"enable_automatic_actions": False}}, True),
        ({"safety": {"simulation_mode": True}}, False),
        ({"models": {"driver": "agent"}}, True),
    ],
)
def test_a_setting_holds_starts_back(
    tmp_path: Path, settings: Mapping[str, Mapping[str, object]], effects: bool
) -> None:
    may = permission(context(tmp_path, **settings))
    assert may.no_starts
    assert (not may.no_effects) is effects


def test_a_pause_holds_everything_back_until_it_ends(tmp_path: Path) -> None:
    world = context(tmp_path)
    control = ControlStore(world.engine, world.clock)
    control.pause("ana", "maintenance")
    assert permission(world).no_effects == "paused by ana: maintenance"
    control.resume("ana")
    assert permission(world) == Permission()
    world.settings.home_dir.pause_file.touch()
    assert permission(world).no_effects
    world.close()


def test_what_was_begun_is_finished_although_nothing_new_is_started() -> None:
    cancelled = Step(StepKind.CANCEL, "m", 2, "cancelled", "k", 1, "t")
    moved = Step(StepKind.PROMOTE, "m", 2, "stopped half-way", "k", 2)
    won = Step(StepKind.PROMOTE, "m", 2, "won", "k", 1)
    held = Permission(no_starts="the agent decides")
    assert [allowed(step, held) for step in (cancelled, moved, won)] == [True, True, False]
    stopped = Permission("paused", "paused")
    assert not any(allowed(step, stopped) for step in (cancelled, moved, won))
