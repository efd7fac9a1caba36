"""The story's six chapters: each does its part, checks how it came out, and says so in figures.

A chapter returns the sentence it ends with, or raises `ChapterFailed` with what came out instead.
All figures are measured in the run: by the traffic, from its answers, or read from the ledger and
the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.clock import epoch
from flows.demo.counts import ChampionRun, TrafficStatus
from flows.demo.pace import REQUESTS_PER_SECOND
from flows.demo.traffic import TrafficPlan
from flows.demo.training import RECIPES
from flows.demo.visitors import Visitors, store_images
from flows.demo.world import ChapterFailed, World, shown_look
from registry.records import Experiment, Look, Stage, TrialVerdict, Variant, VersionStage

# Longest wait for a part of the life-cycle; on two busy cores a flow run takes seconds to start.
_GATE_SECONDS = 240.0
_TRIAL_SECONDS = 360.0
_FOLLOW_SECONDS = 5.0
_GUARD_SECONDS = 30.0
_SETTLE_SECONDS = 1.5
_FIRST_ANSWERS = 600
_CLEARLY_BETTER = 1.10

WEAK, BETTER, SLOW, WORSE, BROKEN = RECIPES


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of the story."""

    title: str
    tell: Callable[[World], str]


def first_champion(world: World) -> str:
    """v1 is benchmarked alone and becomes champion; visitors come."""
    version = world.register(WEAK)
    stage = world.reach(version, Stage.CHAMPION, _GATE_SECONDS)
    _show_links(world, stage)
    world.wait("the predictor to load v1", _GATE_SECONDS, lambda: world.served() or None)
    world.screen.status("visitors come")
    world.told.visitors = _let_visitors_in(world)
    _meet(world, version, _GATE_SECONDS)
    before = world.traffic
    world.wait(
        "answers to visitors",
        60.0,
        lambda: True if world.traffic.since(before).answered >= _FIRST_ANSWERS else None,
    )
    seen = world.traffic.since(before)
    _nothing_failed(seen)
    return (
        f"v{version} is champion: {seen.answered:,} requests answered, 0 failed, "
        f"{_right(seen, version)} right on live traffic, p95 {seen.p95_ms or 0:.1f} ms"
    )


def better_version(world: World) -> str:
    """v2 passes the gate, wins its trial and takes over without a failed request."""
    old, before = world.champion(), world.traffic
    version = world.register(BETTER)
    _check(
        world.told.accuracy[version] >= _CLEARLY_BETTER * world.told.accuracy[old],
        f"v{version} is not {_CLEARLY_BETTER - 1:.0%} better than v{old} on the evaluation data",
    )
    stage = world.reach(version, Stage.CHAMPION, _TRIAL_SECONDS)
    experiment, look = world.trial(version)
    _show_trial(world, experiment, look)
    _check(experiment.verdict is TrialVerdict.PROMOTE, f"the trial ended {experiment.verdict}")
    run = _meet(world, version, _FOLLOW_SECONDS)
    move = world.champion_move(version, outside=False)
    _check(move is not None, "the alias history has no move of @champion to it")
    world.pause(_SETTLE_SECONDS)
    seen = world.traffic.since(before)
    _nothing_failed(seen)
    _show_links(world, stage)
    assert move is not None
    return (
        f"@champion moved v{old} → v{version}, served {_after(run, epoch(move.at))} later; "
        f"{seen.answered:,} requests meanwhile, 0 failed"
    )


def slow_version(world: World) -> str:
    """v3 is accurate but far slower: the gate keeps it from live traffic."""
    champion, before = world.champion(), world.traffic
    version = world.register(SLOW)
    _check(
        world.told.accuracy[version] >= world.told.accuracy[champion] - 0.02,
        f"v{version} is not as accurate as it should be",
    )
    stage = world.reach(version, Stage.REJECTED, _GATE_SECONDS)
    _check("p95" in stage.reason or "latency" in stage.reason, f"rejected for: {stage.reason}")
    seen = world.traffic.since(before)
    _check(seen.version(version).requests == 0, f"visitors met v{version}")
    _nothing_failed(seen)
    _show_links(world, stage)
    return f"v{version} never met a visitor; v{champion} stays champion"


def worse_version(world: World) -> str:
    """v4 is a little worse: it passes the gate, and the trial keeps the champion."""
    champion, before = world.champion(), world.traffic
    version = world.register(WORSE)
    _check(
        world.told.accuracy[version] < world.told.accuracy[champion],
        f"v{version} is not worse than v{champion}",
    )
    stage = world.reach(version, Stage.KEPT, _TRIAL_SECONDS)
    experiment, look = world.trial(version)
    _show_trial(world, experiment, look)
    _show_links(world, stage)
    _check(world.champion() == champion, f"@champion moved to v{world.champion()}")
    seen = world.traffic.since(before)
    _nothing_failed(seen)
    return (
        f"v{champion} stays champion: live {_right(seen, champion)} right, "
        f"v{version} {_right(seen, version)}; {seen.answered:,} requests, 0 failed"
    )


def broken_version(world: World) -> str:
    """v5 fails on images brighter than those it was evaluated on; the guardrail stops it."""
    champion, before = world.champion(), world.traffic
    version = world.register(BROKEN)
    stage = world.reach(version, Stage.STOPPED, _TRIAL_SECONDS)
    experiment, look = world.trial(version)
    _show_trial(world, experiment, look)
    _show_links(world, stage)
    _check(experiment.verdict is TrialVerdict.GUARDRAIL, f"the trial ended {experiment.verdict}")
    seconds = _trial_seconds(experiment)
    _check(seconds <= _GUARD_SECONDS, f"the guardrail took {seconds:.0f} s")
    world.pause(_SETTLE_SECONDS)
    seen = world.traffic.since(before)
    hurt = seen.version(version)
    _check(hurt.failed > 0, "no visitor saw an error")
    _check(hurt.failed == seen.failed, f"requests failed elsewhere too: {seen.failures}")
    _check(world.champion() == champion, f"@champion moved to v{world.champion()}")
    world.pause(_SETTLE_SECONDS)
    _check(
        world.traffic.since(before).version(version).requests == hurt.requests,
        f"v{version} still gets requests",
    )
    return (
        f"stopped {seconds:.1f} s after the trial began: {hurt.failed} of the {hurt.requests:,} "
        f"requests v{version} got failed, 0 of the other {seen.sent - hurt.requests:,}"
    )


def moved_by_hand(world: World) -> str:
    """A person puts the first version back in MLflow: serving follows, the history says so."""
    champion, before = world.champion(), world.traffic
    chosen = min(world.told.accuracy)
    moved_at = world.move_champion_by_hand(chosen)
    world.screen.line(f"someone moved @champion v{champion} → v{chosen} in MLflow, unannounced")
    run = _meet(world, chosen, _FOLLOW_SECONDS)
    move = world.wait(
        "a line in the alias history",
        _FOLLOW_SECONDS,
        lambda: world.champion_move(chosen, outside=True),
    )
    _check(move.before == champion, f"the history says it was v{move.before} before")
    seconds = max(0.0, epoch(move.at) - moved_at)
    world.screen.line(
        f"alias history, {seconds:.1f} s later: @champion v{move.before} → v{move.after}, "
        f"moved from outside, actor: {move.actor}"
    )
    world.pause(_SETTLE_SECONDS)
    seen = world.traffic.since(before)
    _nothing_failed(seen)
    return (
        f"served {_after(run, moved_at)} later, recorded as moved from outside; "
        f"{seen.answered:,} requests meanwhile, 0 failed"
    )


CHAPTERS = (
    Chapter("v1, the first model, becomes champion", first_champion),
    Chapter("v2 is more accurate: benchmark, A/B test, promotion", better_version),
    Chapter("v3 is accurate but slow: the benchmark keeps it out", slow_version),
    Chapter("v4 is a little worse: the A/B test keeps the champion", worse_version),
    Chapter("v5 fails on some images: the guardrail stops it", broken_version),
    Chapter("a person moves @champion in MLflow", moved_by_hand),
)


def _let_visitors_in(world: World) -> Visitors:
    plan = TrafficPlan(
        predictor=world.session.urls.predictor,
        model=world.model,
        images=store_images(world.folder / "visitors.npz", world.data.live),
        status=world.folder / "visitors.json",
        rate=REQUESTS_PER_SECOND,
    )
    log = world.session.settings.home_dir.logs / "visitors.log"
    return Visitors(plan, world.session.environment, log)


def _meet(world: World, version: int, seconds: float) -> ChampionRun:
    """Wait until visitors are answered by the version as champion, and no other."""

    def met() -> ChampionRun | None:
        runs = world.traffic.champion_runs
        return runs[-1] if runs and runs[-1].version == version else None

    return world.wait(f"answers of v{version} as champion", seconds, met)


def _show_trial(world: World, experiment: Experiment, look: Look) -> None:
    for variant in (Variant.CHAMPION, Variant.CHALLENGER):
        arm = look.arms[variant]
        number = experiment.champion if variant is Variant.CHAMPION else experiment.challenger
        share = arm.metric.total / arm.metric.count if arm.metric.count else 0.0
        world.screen.line(
            f"v{number} ({variant.value}): {arm.exposures:,} requests, {arm.errors:,} errors, "
            f"{share:.1%} right of {arm.metric.count:,} labels"
        )
    world.screen.line(f"{shown_look(look)}; after {_trial_seconds(experiment):.1f} s")


def _show_links(world: World, stage: VersionStage) -> None:
    world.screen.line(f"MLflow run   {world.run_link(stage.run_id)}")
    if stage.flow_run_id:
        world.screen.line(f"Prefect run  {world.flow_link(stage.flow_run_id)}")


def _trial_seconds(experiment: Experiment) -> float:
    if experiment.finished_at is None:
        raise ChapterFailed(f"experiment {experiment.id} has no end")
    return (experiment.finished_at - experiment.started_at).total_seconds()


def _after(run: ChampionRun, moved_at: float) -> str:
    return f"{max(0.0, run.first_at - moved_at):.1f} s"


def _right(seen: TrafficStatus, version: int) -> str:
    accuracy = seen.version(version).accuracy
    if accuracy is None:
        raise ChapterFailed(f"visitors got no answer of v{version}")
    return f"{accuracy:.1%}"


def _nothing_failed(seen: TrafficStatus) -> None:
    _check(seen.failed == 0, f"{seen.failed} of {seen.sent:,} requests failed: {seen.failures}")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ChapterFailed(otherwise)
