"""Changing a knob, and judging by samples whether that helped."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from config.errors import UnavailableError
from config.settings import AgentSettings
from optimizers.capability import Sight, Switch
from optimizers.execution import ActionDesk, run_action
from optimizers.knob_effects import KnobEffects, knob_effects
from optimizers.knob_samples import Pairs, take_sample
from registry.agent_records import ActionState, Effect, Verdict
from tests.crash.agent_world import ACTION, AgentWorld, ToyCapability
from tests.crash.toys import AFTER, BEFORE, Case

Sample = Callable[[str, Sequence[str]], Mapping[str, float]]
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

    def sample(_target: str, metrics: Sequence[str]) -> Mapping[str, float]:
        changed = world.knobs.value() == AFTER
        level = 100.0 * (factor if changed else 1.0)
        return {metric: level * rng.uniform(0.97, 1.03) for metric in metrics}

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
    done = run_action(desk_of(world, lambda _target, _metrics: {}), ACTION, "me")
    assert done.state is ActionState.ROLLED_BACK
    assert "gave no sample" in done.reason
    assert world.knobs.journal.lines() == []


def test_a_metric_that_falls_silent_afterwards_has_the_change_put_back(world: AgentWorld) -> None:
    def sample(_target: str, metrics: Sequence[str]) -> Mapping[str, float]:
        return {} if world.knobs.value() == AFTER else dict.fromkeys(metrics, 100.0)

    done = run_action(desk_of(world, sample), ACTION, "me")
    assert done.state is ActionState.ROLLED_BACK
    assert done.effect is not None
    assert done.effect.verdict is Verdict.NO_DATA
    assert world.knobs.value() == BEFORE


def paired(world: AgentWorld, sample: Sample, *, pairs: int = 12) -> ActionDesk:
    effects = KnobEffects(samples=pairs, every_s=7.0, pairs=True, switch_settle_s=2.0)
    desk = world.desk()
    return replace(
        desk,
        capabilities={"toy_change": ToyCapability(effects)},
        tools=replace(desk.tools, sample=sample),
        poll_s=0.5,
    )


def test_in_pairs_a_small_gain_shows_through_load_that_drifts(world: AgentWorld) -> None:
    begun = world.clock.monotonic()
    steady = noisy(world, 0.9)

    def sample(target: str, metrics: Sequence[str]) -> Mapping[str, float]:
        drift = 1.0 + (world.clock.monotonic() - begun) / 300.0
        return {name: value * drift for name, value in steady(target, metrics).items()}

    done = run_action(paired(world, sample, pairs=20), ACTION, "me")
    assert done.state is ActionState.COMPLETED
    assert done.effect is not None
    assert done.effect.gain == pytest.approx(0.1, abs=0.03)
    assert world.knobs.value() == AFTER


@pytest.mark.parametrize(("factor", "verdict"), [(1.5, "worse"), (1.0, "inconclusive")])
def test_in_pairs_too_what_does_not_help_is_put_back(
    world: AgentWorld, factor: float, verdict: str
) -> None:
    done = run_action(paired(world, noisy(world, factor)), ACTION, "me")
    assert done.state is ActionState.ROLLED_BACK
    assert done.effect is not None
    assert done.effect.verdict == verdict
    assert world.knobs.value() == BEFORE


def test_in_pairs_every_sample_is_noted_at_the_side_where_it_was_taken(world: AgentWorld) -> None:
    def sample(_target: str, metrics: Sequence[str]) -> Mapping[str, float]:
        return dict.fromkeys(metrics, float(str(world.knobs.value())))

    done = run_action(paired(world, sample), ACTION, "me")
    for pair in range(12):
        assert done.progress[f"before {pair}"] == {"toy_ms": BEFORE}
        assert done.progress[f"after {pair}"] == {"toy_ms": AFTER}
    order = [line["after"] for line in world.knobs.journal.lines()]
    assert {BEFORE, AFTER} == set(order)
    assert all(one != other for one, other in pairwise(order))


def test_in_pairs_nothing_is_measured_while_a_switch_settles(world: AgentWorld) -> None:
    """A gauge of what happened since the last look, as counters give it."""
    looks: list[float] = []
    unclean: list[float] = []

    def sample(_target: str, metrics: Sequence[str]) -> Mapping[str, float]:
        now = world.clock.monotonic()
        since, settled = (looks or [now])[-1], world.knobs.touched_at + 2.0
        looks.append(now)
        clean = since >= settled
        unclean.extend([] if clean else [now])
        return dict.fromkeys(metrics, 100.0 if clean else -1.0)

    done = run_action(paired(world, sample), ACTION, "me")
    noted = [value for key, value in done.progress.items() if key.startswith(("before ", "after "))]
    assert len(noted) == 24
    assert all(value == {"toy_ms": 100.0} for value in noted)
    assert unclean, "every look was clean, so nothing was thrown away"


def test_the_order_of_pairs_differs_from_action_to_action_and_is_fair(world: AgentWorld) -> None:
    action = world.actions.get(ACTION)
    assert action is not None
    pairs = Pairs(1, 7.0, 2.0)
    asked = []
    for number in range(200):
        found = pairs.advance(replace(action, id=f"action-{number}"), world.desk().tools)
        asked.append(found == Switch(Sight.BEFORE))
    assert 70 < sum(asked) < 130


def test_a_change_that_cannot_be_undone_is_not_switched_back(world: AgentWorld) -> None:
    action = world.actions.get(ACTION)
    assert action is not None
    effects = KnobEffects(samples=12, every_s=5.0, pairs=True)
    final = replace(
        action,
        proposal=replace(action.proposal, reversible=False),
        progress={"before": {"toy_ms": [100.0] * 12}},
    )
    tools = paired(world, noisy(world, 1.0)).tools
    found = []
    for _ in range(13):
        found.append(effects.verify(final, tools))
        world.clock.advance(5.0)
    assert found[:12] == [None] * 12
    assert isinstance(found[12], Effect)


def test_metrics_of_other_targets_are_sampled_there_with_one_look_at_each(
    world: AgentWorld,
) -> None:
    action = world.actions.get(ACTION)
    assert action is not None
    looks: list[tuple[str, tuple[str, ...]]] = []

    def sample(target: str, metrics: Sequence[str]) -> Mapping[str, float]:
        looks.append((target, tuple(metrics)))
        if target == "away":
            raise UnavailableError("it does not answer")
        return {metric: float(len(target)) for metric in metrics if metric != "missing"}

    guardrails = ("load", "error_rate@serving", "missing@serving", "p95_ms@serving", "x@away")
    wide = replace(action, proposal=replace(action.proposal, guardrails=guardrails))
    values = take_sample(wide, replace(world.desk().tools, sample=sample))
    assert values == {
        "toy_ms": 3.0,
        "load": 3.0,
        "error_rate@serving": 7.0,
        "p95_ms@serving": 7.0,
    }
    assert looks == [
        ("toy", ("toy_ms", "load")),
        ("serving", ("error_rate", "missing", "p95_ms")),
        ("away", ("x",)),
    ]


def test_the_agent_s_settings_give_twenty_pairs_in_five_minutes(world: AgentWorld) -> None:
    desk = paired(world, noisy(world, 0.7))
    effects = knob_effects(AgentSettings(), pairs=True)
    desk = replace(desk, capabilities={"toy_change": ToyCapability(effects)})
    begun = world.clock.monotonic()
    done = run_action(desk, ACTION, "me")
    assert done.state is ActionState.COMPLETED
    assert "after 19" in done.progress
    assert "after 20" not in done.progress
    assert 300 <= world.clock.monotonic() - begun < 380


def test_settling_that_leaves_no_time_to_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing"):
        KnobEffects(samples=12, every_s=2.0, pairs=True, switch_settle_s=2.0)
