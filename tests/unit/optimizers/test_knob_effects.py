"""Changing a knob, and judging by samples whether that helped."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from optimizers.execution import ActionDesk, run_action
from optimizers.knob_effects import KnobEffects
from registry.agent_records import ActionState, Verdict
from tests.crash.agent_world import ACTION, AFTER, BEFORE, AgentWorld, Case, ToyCapability

Sample = Callable[[str, str], float | None]
PLAIN = Case("plain", frozenset())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AgentWorld]:
    (tmp_path / "world").mkdir()
    world = AgentWorld(tmp_path / "world", PLAIN)
    world.propose()
    yield world
    world.close()


def desk_of(world: AgentWorld, sample: Sample) -> ActionDesk:
    effects = KnobEffects(samples=12, every_s=5.0)
    desk = world.desk()
    return replace(
        desk,
        capabilities={"toy_change": ToyCapability(effects)},
        tools=replace(desk.tools, sample=sample),
    )


def noisy(world: AgentWorld, factor: float) -> Sample:
    """A latency around 100 ms that changes by `factor` while the knob has its new value."""
    rng = random.Random(7)

    def sample(_target: str, _metric: str) -> float:
        changed = world.knobs.value() == AFTER
        return 100.0 * (factor if changed else 1.0) * rng.uniform(0.97, 1.03)

    return sample


def test_a_change_that_helps_is_kept_with_its_gain(world: AgentWorld) -> None:
    done = run_action(desk_of(world, noisy(world, 0.7)), ACTION, "me")
    assert done.state is ActionState.COMPLETED
    assert done.effect is not None
    assert done.effect.verdict is Verdict.IMPROVED
    assert done.effect.gain == pytest.approx(0.3, abs=0.03)
    assert world.knobs.value() == AFTER


@pytest.mark.parametrize(("factor", "verdict"), [(1.5, "worse"), (1.0, "inconclusive")])
def test_a_change_that_does_not_help_is_put_back(
    world: AgentWorld, factor: float, verdict: str
) -> None:
    done = run_action(desk_of(world, noisy(world, factor)), ACTION, "me")
    assert done.state is ActionState.ROLLED_BACK
    assert done.effect is not None
    assert done.effect.verdict == verdict
    assert world.knobs.value() == BEFORE


def test_the_samples_before_are_noted_before_the_knob_is_turned(world: AgentWorld) -> None:
    done = run_action(desk_of(world, noisy(world, 0.7)), ACTION, "me")
    before = done.progress["before"]
    assert isinstance(before, dict)
    samples = before["toy_ms"]
    assert isinstance(samples, list)
    assert len(samples) == 12
    assert all(isinstance(one, float) and 97 <= one <= 103 for one in samples)


def test_without_a_sample_the_knob_is_not_turned(world: AgentWorld) -> None:
    done = run_action(desk_of(world, lambda _target, _metric: None), ACTION, "me")
    assert done.state is ActionState.ROLLED_BACK
    assert "gave no sample" in done.reason
    assert world.knobs.journal.lines() == []


def test_a_metric_that_falls_silent_afterwards_has_the_change_put_back(world: AgentWorld) -> None:
    def sample(_target: str, _metric: str) -> float | None:
        return None if world.knobs.value() == AFTER else 100.0

    done = run_action(desk_of(world, sample), ACTION, "me")
    assert done.state is ActionState.ROLLED_BACK
    assert done.effect is not None
    assert done.effect.verdict is Verdict.NO_DATA
    assert world.knobs.value() == BEFORE
