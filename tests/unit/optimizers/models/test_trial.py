"""The controller of an A/B test, from its start to its end, in a world where time is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.trial_record import recompute
from config.errors import ConflictError, StaleToken, UnavailableError
from optimizers.models.desk import Decision
from optimizers.models.trial import decision_of, run_trial
from optimizers.models.trial_end import TrialEnd, cancel_trial, close_split, conclude_trial
from registry.records import ExperimentState, RouteMode, Stage, TrialVerdict
from registry.trial_config import ABTestConfig
from tests.services.scripted_traffic import Behaviour
from tests.services.trial_world import MODEL, TrialWorld, trial_config

BETTER = {1: Behaviour(accuracy=0.75), 2: Behaviour(accuracy=0.95)}
ALIKE = {1: Behaviour(accuracy=0.9), 2: Behaviour(accuracy=0.9)}
BROKEN = {1: Behaviour(accuracy=0.9), 2: Behaviour(accuracy=0.99, error_rate=0.3)}

MakeWorld = Callable[..., TrialWorld]


@pytest.fixture
def world_of(tmp_path: Path) -> Iterator[MakeWorld]:
    worlds: list[TrialWorld] = []

    def make(**options: object) -> TrialWorld:
        world = TrialWorld(tmp_path, **options)  # type: ignore[arg-type]
        worlds.append(world)
        return world if len(worlds) > 1 else world.prepare()

    yield make
    for world in worlds:
        world.close()


def run(world: TrialWorld, config: ABTestConfig | None = None, holder: str = "run-1") -> TrialEnd:
    config = config or trial_config()
    run_trial(world.desk, config, holder)
    return conclude_trial(world.desk, config.test_id, holder)


def assert_nothing_is_left(world: TrialWorld) -> None:
    """After a test: all traffic to the champion, no challenger named, nothing running."""
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE
    assert world.registry.aliases(MODEL).keys() <= {"champion", "previous"}
    assert world.desk.experiments.running(MODEL) == []


def test_a_better_challenger_wins_and_is_not_promoted_by_the_test_itself(
    world_of: MakeWorld,
) -> None:
    world = world_of(behaviours=BETTER)
    end = run(world)
    assert end.decision.verdict is TrialVerdict.PROMOTE
    assert world.stage() is Stage.WON
    assert world.registry.aliases(MODEL)["champion"] == 1
    assert_nothing_is_left(world)


def test_the_published_record_gives_the_same_verdict_again(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER)
    end = run(world)
    (record,) = world.published
    again = recompute(record)
    assert again.agrees
    assert again.verdict == end.decision.verdict
    assert end.experiment.run_id == end.run.run_id if end.run else False


def test_versions_that_are_alike_keep_the_champion(world_of: MakeWorld) -> None:
    world = world_of(behaviours=ALIKE)
    end = run(world)
    assert end.decision.verdict in {TrialVerdict.KEEP_CHAMPION, TrialVerdict.INCONCLUSIVE}
    assert world.stage() is Stage.KEPT
    assert_nothing_is_left(world)


def test_errors_of_the_challenger_stop_the_test_at_once(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BROKEN)
    end = run(world)
    assert end.decision.verdict is TrialVerdict.GUARDRAIL
    assert world.waited <= 60
    assert world.stage() is Stage.STOPPED
    assert_nothing_is_left(world)


def test_the_split_is_open_while_the_test_runs_and_the_challenger_named(
    world_of: MakeWorld,
) -> None:
    world = world_of(behaviours=ALIKE)
    seen: list[object] = []
    world.later[30] = lambda: seen.extend(
        [world.desk.routes.current(MODEL), world.registry.aliases(MODEL), world.stage()]
    )
    run(world)
    route, aliases, stage = seen
    assert (route.mode, route.challenger, route.weight) == (RouteMode.AB, 2, 0.3)  # type: ignore[attr-defined]
    assert aliases == {"champion": 1, "challenger": 2}
    assert stage is Stage.TRIAL


def test_a_champion_moved_by_a_person_invalidates_the_test(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER, rate=1)
    world.later[50] = lambda: world.registry.set_alias(MODEL, "champion", 2)
    end = run(world)
    assert end.decision.verdict is TrialVerdict.INVALIDATED
    assert "moved to version 2" in end.decision.reason
    assert world.stage() is Stage.INVALIDATED
    assert_nothing_is_left(world)


def test_a_champion_taken_away_invalidates_the_test(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER, rate=1)
    world.later[50] = lambda: world.registry.delete_alias(MODEL, "champion")
    assert run(world).decision.verdict is TrialVerdict.INVALIDATED


def test_a_split_changed_by_somebody_else_invalidates_the_test(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER, rate=1)
    world.later[50] = lambda: close_split(world.desk, "toy-test", "I want it closed")
    end = run(world)
    assert end.decision.verdict is TrialVerdict.INVALIDATED
    assert "I want it closed" in end.decision.reason


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_nothing_is_promoted_when_the_wall_clock_was_stepped(
    world_of: MakeWorld, seconds: float
) -> None:
    world = world_of(behaviours=BETTER)
    world.later[20] = lambda: world.clock.step_wall(seconds)
    end = run(world)
    assert end.decision.verdict is TrialVerdict.INCONCLUSIVE
    assert f"stepped by {seconds:+.0f} s" in end.decision.reason
    assert_nothing_is_left(world)


def test_a_stepped_clock_neither_shortens_nor_prolongs_a_test(world_of: MakeWorld) -> None:
    world = world_of(behaviours=ALIKE, rate=0.2)
    world.later[30] = lambda: world.clock.step_wall(86_400)
    world.later[100] = lambda: world.clock.step_wall(-2 * 86_400)
    run(world, trial_config(look_seconds=40))
    assert world.waited == pytest.approx(600, abs=1)


def test_a_clock_set_back_is_found_by_the_next_controller_too(world_of: MakeWorld) -> None:
    first = world_of(behaviours=BETTER, rate=1)
    first.later[15] = lambda: first.clock.step_wall(-3600)
    first.later[35] = _killed
    with pytest.raises(_Killed):
        run(first)
    second = world_of(behaviours=BETTER, worker="other", start_s=300)
    assert run(second, holder="run-2").decision.verdict is TrialVerdict.INCONCLUSIVE


def test_a_win_is_held_back_while_the_registry_is_away_and_counts_when_it_is_back(
    world_of: MakeWorld,
) -> None:
    world = world_of(behaviours=BETTER)
    world.later[15] = world.registry.fail
    world.later[400] = world.registry.mend
    end = run(world, trial_config(look_seconds=40))
    assert end.decision.verdict is TrialVerdict.PROMOTE
    assert world.waited >= 400


def test_a_registry_that_stays_away_to_the_end_promotes_nothing(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER)
    world.later[15] = world.registry.fail
    world.later[620] = world.registry.mend
    end = run(world, trial_config(look_seconds=40))
    assert end.decision.verdict is TrialVerdict.INCONCLUSIVE
    assert "the registry is away" in end.decision.reason
    assert world.stage() is Stage.KEPT
    assert_nothing_is_left(world)


def test_errors_close_the_split_even_while_the_registry_is_away(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BROKEN)
    world.later[5] = world.registry.fail
    with pytest.raises(UnavailableError):
        run(world)
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE
    world.registry.mend()
    end = run(world, holder="run-2")
    assert end.decision.verdict is TrialVerdict.GUARDRAIL
    assert_nothing_is_left(world)


def test_a_second_controller_goes_on_with_the_counts_of_the_first(world_of: MakeWorld) -> None:
    first = world_of(behaviours=ALIKE, rate=2)
    first.later[100] = _killed
    with pytest.raises(_Killed):
        run(first)
    looks_before = first.desk.experiments.looks("toy-test")
    second = world_of(behaviours=ALIKE, rate=2, worker="other", start_s=5000)
    run(second, holder="run-2")
    looks = second.desk.experiments.looks("toy-test")
    assert looks[: len(looks_before)] == looks_before
    assert [look.number for look in looks] == list(range(1, len(looks) + 1))
    assert looks[-1].elapsed_s <= 620
    assert second.desk.experiments.get("toy-test").flow_run_id == "run-2"  # type: ignore[union-attr]


def test_a_controller_that_lost_its_lease_stops_without_a_decision(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER, rate=1)

    def usurp() -> None:
        world.clock.step_wall(3600)
        world.desk.experiments.claim("toy-test", "somebody else", 30)

    world.later[30] = usurp
    with pytest.raises(StaleToken):
        run(world)
    experiment = world.desk.experiments.get("toy-test")
    assert experiment is not None
    assert decision_of(world.desk, experiment) is None


def test_a_test_held_by_a_living_controller_is_refused(world_of: MakeWorld) -> None:
    world = world_of(rate=0)
    world.later[5] = _killed
    with pytest.raises(_Killed):
        run(world)
    store = world.desk.experiments
    lease = store.claim("toy-test", "the living one", 30)
    for second in range(6, 60, 5):
        world.later[second] = lambda: store.renew(lease)
    with pytest.raises(ConflictError, match="the living one"):
        run(world, holder="an intruder")


def test_a_lease_from_before_the_clock_was_set_back_does_not_block_for_ever(
    world_of: MakeWorld,
) -> None:
    world = world_of(behaviours=ALIKE)
    world.later[5] = _killed
    with pytest.raises(_Killed):
        run(world)
    world.desk.experiments.claim("toy-test", "dead", 30)
    world.clock.step_wall(-86_400)
    assert run(world, holder="run-2").experiment.state is ExperimentState.FINISHED


def test_a_finished_test_run_again_changes_nothing(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER)
    first = run(world)
    looks = len(world.desk.experiments.looks("toy-test"))
    again = run(world, holder="run-2")
    assert again.decision == first.decision
    assert len(world.desk.experiments.looks("toy-test")) == looks
    assert len(world.published) == 1


def test_cancelling_gives_the_traffic_back(world_of: MakeWorld) -> None:
    world = world_of(behaviours=ALIKE, rate=2)
    world.later[50] = _killed
    with pytest.raises(_Killed):
        run(world)
    assert world.desk.routes.current(MODEL).mode is RouteMode.AB
    end = cancel_trial(world.desk, "toy-test", "run-1", "changed my mind")
    assert end is not None
    assert end.decision == Decision(TrialVerdict.CANCELLED, "changed my mind")
    assert world.stage() is Stage.STOPPED
    assert_nothing_is_left(world)


def test_cancelling_a_finished_test_changes_nothing(world_of: MakeWorld) -> None:
    world = world_of(behaviours=BETTER)
    run(world)
    assert cancel_trial(world.desk, "toy-test", "run-1", "too late") is None
    assert world.stage() is Stage.WON


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (None, "has not been benchmarked"),
        (Stage.REJECTED, "rejected it"),
        (Stage.BENCHMARKING, "benchmark is running"),
    ],
)
def test_a_version_that_has_not_passed_the_benchmark_meets_no_traffic(
    world_of: MakeWorld, stage: Stage | None, words: str
) -> None:
    world = world_of()
    world.registry.add(MODEL, 3, champion=1)
    if stage is not None:
        world.desk.lifecycle.put(MODEL, 3, None, stage, "so it stands")
    with pytest.raises(ConflictError, match=words):
        run_trial(world.desk, trial_config(model_b=3), "run-1")
    assert world.desk.routes.current(MODEL).revision == 0


def test_a_test_against_another_version_than_the_champion_is_refused(world_of: MakeWorld) -> None:
    world = world_of()
    world.registry.set_alias(MODEL, "champion", 2)
    with pytest.raises(ConflictError, match="@champion of toy is version 2"):
        run_trial(world.desk, trial_config(), "run-1")


class _Killed(BaseException):
    """Stands for a termination signal."""


def _killed() -> None:
    raise _Killed
