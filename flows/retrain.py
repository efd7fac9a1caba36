"""Flow `retrain`: runs the user's training and sends what it made into the life-cycle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from pydantic import Field

from config.errors import ConfigError, InputError
from flows.artefacts import done
from flows.context import Context, open_context
from flows.forms import ModelName, Reason

Entrypoint = Annotated[
    str | None,
    Field(
        title="Entry point",
        description="A Prefect deployment (flow/deployment) or a function (module:function); "
        "empty: models.retrain_entrypoint of the settings.",
        max_length=500,
    ),
]


@flow(name="retrain", flow_run_name="retrain-{model}", persist_result=False)
def retrain(
    model: ModelName, reason: Reason = "asked for by a person", entrypoint: Entrypoint = None
) -> State[None]:
    """Train a new version with the user's own code; it is benchmarked and tried like any other."""
    from flows.starting import start_next
    from optimizers.models.observing import RETRAINED
    from optimizers.models.retraining import is_deployment

    context = open_context()
    target = entrypoint or context.settings.models.retrain_entrypoint
    if target is None:
        raise ConfigError(
            "models.retrain_entrypoint is not set; name a deployment (flow/deployment) or a "
            "function (module:function) that trains a new version"
        )
    deployed = is_deployment(target)
    desk = context.desk()
    desk.events.append(None, RETRAINED, model, {"reason": reason, "entrypoint": target})
    make = by_deployment if deployed else by_function
    version = make(context, target, model, reason)
    get_run_logger().info(start_next(context, desk, model, version))
    return done("Trained", f"version {version} of {model} by {target}: {reason}")


def by_function(context: Context, target: str, model: str, reason: str) -> int:
    """Call the function here, in the flow run's own process."""
    from optimizers.models.retraining import find_trainer, train

    with tempfile.TemporaryDirectory(prefix="retrain-") as folder:
        return train(find_trainer(target), context.registry, model, Path(folder), reason)


def by_deployment(context: Context, target: str, model: str, reason: str) -> int:
    """Run the deployment to its end and find the version it registered."""
    from prefect.deployments import run_deployment

    before = {one.version for one in context.reader.versions(model)}
    run = run_deployment(target, parameters={"model": model, "reason": reason}, as_subflow=True)
    if run.state is None or not run.state.is_completed():  # type: ignore[union-attr]
        raise InputError(f"training deployment {target} ended as {run.state}; see its flow run")  # type: ignore[union-attr]
    made = [one.version for one in context.reader.versions(model) if one.version not in before]
    if not made:
        raise InputError(
            f"training deployment {target} ended well but registered no new version of {model}"
        )
    return max(made)
