"""Takes a version through the benchmark gate: fetch it and the champion, measure, note the result.

A version registered with plain MLflow is adopted first: its digest is pinned, and from then on no
other file is ever loaded under its name. A file that is refused is rejected with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gate import GateResult, GateVerdict
from config.errors import ConflictError, InputError
from optimizers.models.desk import Desk, move_stage
from registry.evaluation import EvaluationData
from registry.records import CHAMPION_ALIAS, ModelFile, ModelVersion, Stage, VersionStage

_STAGE = {
    GateVerdict.ACCEPT: Stage.ACCEPTED,
    GateVerdict.REJECT: Stage.REJECTED,
    # Not shown to be good enough is not shown to be bad: a person may repeat it with more data.
    GateVerdict.INCONCLUSIVE: Stage.FAILED,
}
_BEYOND = {Stage.TRIAL, Stage.WON, Stage.PROMOTING, Stage.CHAMPION}

Adopt = Callable[[str, int], ModelVersion]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the gate compares; `champion` is None for a model's first version."""

    candidate: ModelFile
    champion: ModelFile | None
    evaluation: EvaluationData | None


def begin_benchmark(desk: Desk, model: str, version: int, flow_run_id: str | None) -> None:
    """Note that a version is being benchmarked.

    Raises:
        ConflictError: it is past that: on trial, or the champion.
    """
    stage = desk.lifecycle.get(model, version)
    if stage is not None and stage.stage in _BEYOND:
        raise ConflictError(
            f"version {version} of {model} is {stage.stage}; a benchmark now would decide nothing"
        )
    move_stage(
        desk.lifecycle,
        model,
        version,
        Stage.BENCHMARKING,
        "measured against the champion",
        flow_run_id=flow_run_id,
    )


def fetch_candidates(desk: Desk, adopt: Adopt, model: str, version: int) -> Candidates:
    """Bring both versions' files and the evaluation data here.

    Raises:
        InputError: the candidate's file or data is refused.
        RegistryUnavailable: try again.
    """
    candidate = _fetch(desk, adopt, model, version)
    champion = desk.registry.aliases(model).get(CHAMPION_ALIAS)
    if champion in {None, version}:
        return Candidates(candidate, None, _evaluation(desk, model, (version,)))
    assert champion is not None
    return Candidates(
        candidate,
        _fetch(desk, adopt, model, champion),
        _evaluation(desk, model, (version, champion)),
    )


def settle_benchmark(
    desk: Desk,
    model: str,
    version: int,
    result: GateResult,
    *,
    flow_run_id: str | None,
    run_id: str | None,
) -> VersionStage:
    """Note the gate's verdict as the version's stage."""
    return move_stage(
        desk.lifecycle,
        model,
        version,
        _STAGE[result.verdict],
        result.reason,
        flow_run_id=flow_run_id,
        run_id=run_id,
    )


def refuse_version(
    desk: Desk, model: str, version: int, error: InputError, flow_run_id: str | None
) -> VersionStage:
    """Reject a version whose file may not be loaded."""
    return move_stage(
        desk.lifecycle,
        model,
        version,
        Stage.REJECTED,
        f"Rejected: {error}",
        flow_run_id=flow_run_id,
    )


def _fetch(desk: Desk, adopt: Adopt, model: str, version: int) -> ModelFile:
    if desk.registry.version(model, version).digest is None:
        adopt(model, version)
    return desk.registry.fetch(model, version)


def _evaluation(desk: Desk, model: str, versions: tuple[int, ...]) -> EvaluationData | None:
    """The first of the versions' evaluation data; without any, accuracy is an open question."""
    for version in versions:
        if desk.registry.version(model, version).evaluation_digest is not None:
            return desk.registry.fetch_evaluation(model, version)
    return None
