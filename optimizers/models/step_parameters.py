"""The parameters of the flow that carries out a step of the life-cycle. Pure."""

from __future__ import annotations

from pydantic import JsonValue

from optimizers.models.lifecycle import Step, StepKind


def parameters_of(step: Step) -> dict[str, JsonValue]:
    """The parameters of a step's flow.

    Raises:
        ValueError: the step is no flow of its own.
    """
    match step.kind:
        case StepKind.BENCHMARK | StepKind.PROMOTE:
            return {"model": step.model, "version": step.version}
        case StepKind.AB_TEST:
            return {
                "test": {
                    "model": step.model,
                    "model_a": step.champion,
                    "model_b": step.version,
                    "test_id": step.test_id,
                }
            }
        case StepKind.ROLLBACK:
            return {"model": step.model, "version": step.version, "reason": step.reason}
        case StepKind.RETRAIN:
            return {"model": step.model, "reason": step.reason}
    raise ValueError(f"{step.kind} is no flow of its own")
