"""What comes next for a version: a pure function of where it stands.

Level-triggered: it looks at the state, not at what happened, so it may be asked at any time and by
several processes. A step carries a key made from the state it was planned for; whoever starts
steps starts each key once. Promises nothing about the step having been carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from config.clock import epoch
from registry.records import Stage, VersionStage

NEW = "new"
"""How the key of a step ends when the version was never seen before."""


class StepKind(StrEnum):
    """What can be started for a version."""

    BENCHMARK = "benchmark"
    AB_TEST = "ab_test"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RETRAIN = "retrain"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to start, once for each `key`.

    Attributes:
        champion: the version that holds @champion in the state this was planned for.
        test_id: the experiment to go on with or to end; None for a new one.
    """

    kind: StepKind
    model: str
    version: int
    reason: str
    key: str
    champion: int | None = None
    test_id: str | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing to start, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides a version's next step.

    Attributes:
        stage: where the version stands; None when it was never seen.
        champion: the version behind @champion, None when there is none.
        busy: what else the model is busy with (a trial of another version), empty when free.
        abandoned: the process that was at work on the version died without moving it on.
        auto_promote: a won trial is promoted without a person.
    """

    model: str
    version: int
    stage: VersionStage | None
    champion: int | None
    busy: str = ""
    abandoned: bool = False
    auto_promote: bool = True


def next_step(at: Situation) -> Step | Nothing:
    """Return what to start for the version, or why there is nothing to start."""
    stage = at.stage.stage if at.stage else None
    if at.champion == at.version and stage is not Stage.PROMOTING:
        return Nothing(f"version {at.version} is the champion")
    follow = _FOLLOWS.get(stage)
    if follow is None:
        return Nothing(f"version {at.version} is {stage}: {at.stage.reason if at.stage else ''}")
    return follow(at)


def key_of(kind: StepKind, model: str, version: int, stage: VersionStage | None) -> str:
    """The key of a step from this state: another state, or the same one later, is another key."""
    state = f"{stage.stage}:{epoch(stage.at):.6f}" if stage else NEW
    return f"{kind}:{model}:{version}:{state}"


def trial_id(model: str, champion: int, stage: VersionStage) -> str:
    """The id of the trial that follows an accepted benchmark: the same however often it is asked.

    It holds the time of acceptance, so a version benchmarked again gets another trial.
    """
    return f"{model}-v{stage.version}-vs-v{champion}-{int(epoch(stage.at) * 1000)}"


def _step(at: Situation, kind: StepKind, reason: str, test_id: str | None = None) -> Step:
    key = key_of(kind, at.model, at.version, at.stage)
    return Step(kind, at.model, at.version, reason, key, at.champion, test_id)


def _when_free(at: Situation, step: Step) -> Step | Nothing:
    return Nothing(f"waits: {at.busy}") if at.busy else step


def _again(at: Situation, step: Step) -> Step | Nothing:
    return step if at.abandoned else Nothing("under way")


def _after_benchmark(at: Situation) -> Step | Nothing:
    if at.champion is None:
        reason = "the benchmark accepted it and there is no champion to try it against"
        return _when_free(at, _step(at, StepKind.PROMOTE, reason))
    assert at.stage is not None
    reason = f"the benchmark accepted it; trial against version {at.champion}"
    test_id = trial_id(at.model, at.champion, at.stage)
    return _when_free(at, _step(at, StepKind.AB_TEST, reason, test_id))


def _after_trial(at: Situation) -> Step | Nothing:
    if not at.auto_promote:
        return Nothing("won its trial; waits for a person to promote it (models.auto_promote)")
    return _step(at, StepKind.PROMOTE, "won its trial")


_FOLLOWS: dict[Stage | None, Callable[[Situation], Step | Nothing]] = {
    None: lambda at: _when_free(at, _step(at, StepKind.BENCHMARK, "a new version")),
    Stage.FOUND: lambda at: _when_free(at, _step(at, StepKind.BENCHMARK, "a new version")),
    Stage.BENCHMARKING: lambda at: _again(
        at, _step(at, StepKind.BENCHMARK, "its benchmark stopped half-way")
    ),
    Stage.ACCEPTED: _after_benchmark,
    Stage.WON: _after_trial,
    Stage.PROMOTING: lambda at: _again(
        at, _step(at, StepKind.PROMOTE, "its promotion stopped half-way")
    ),
}
