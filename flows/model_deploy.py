"""Flow `model_deploy`: brings a version to a deployment target of the settings."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from config.errors import ConfigError, InputError
from flows.artefacts import Row, done, run_id, show_table
from flows.context import Context, open_context
from flows.forms import ModelName, Version

if TYPE_CHECKING:
    from config.settings import DeploymentTargetSettings
    from registry.evaluation import EvaluationData
    from registry.records import ModelFile

Place = Annotated[
    str,
    Field(
        title="Deployment target",
        description="Its name in deployment_targets of the settings.",
        min_length=1,
        max_length=100,
    ),
]

_FOLLOW_S = 60.0


@flow(name="model_deploy", flow_run_name="model-deploy-{model}-v{version}", persist_result=False)
def model_deploy(place: Place, model: ModelName, version: Version) -> State[None]:
    """Copy a version to a remote predictor, or build a bento of it for an edge device.

    The version is seen at its place in the end; if it is not, what was changed is put back.
    """
    from optimizers.models.capabilities.model_deploy import DEPLOYED

    context = open_context()
    target = target_named(context, place)
    file = context.reader.fetch(model, version)
    evaluation = evaluation_of(context, model, version)
    to = to_device if target.kind == "edge" else to_predictor
    reason = to(context, target, file, evaluation)
    row: Row = {"place": place, "version": version, "reason": reason, "flow_run_id": run_id()}
    context.desk().events.append(None, DEPLOYED, model, row)
    show_table(f"model-deploy-{place}-{model}", [row], reason)
    return done("Deployed", f"version {version} of {model} to {place}: {reason}")


def target_named(context: Context, place: str) -> DeploymentTargetSettings:
    """The deployment target of that name.

    Raises:
        ConfigError: there is none; the text lists those there are.
    """
    targets = {one.name: one for one in context.settings.deployment_targets}
    if place not in targets:
        known = ", ".join(sorted(targets)) or "none"
        raise ConfigError(f"deployment_targets has no {place!r}; there are: {known}")
    return targets[place]


def evaluation_of(context: Context, model: str, version: int) -> EvaluationData | None:
    """The version's evaluation data, if it has any."""
    if context.reader.version(model, version).evaluation_digest is None:
        return None
    return context.reader.fetch_evaluation(model, version)


def to_device(
    context: Context,
    target: DeploymentTargetSettings,
    file: ModelFile,
    evaluation: EvaluationData | None,
) -> str:
    """Build a bento into the target's folder; return what was built.

    Raises:
        ConfigError: the target names no folder.
    """
    from benchmarks.quantization import original, quantize
    from optimizers.deployment.edge import build_edge

    if target.folder is None:
        raise ConfigError(f"the deployment target {target.name} names no folder")
    threads = context.settings.serving.intra_op_threads
    with tempfile.TemporaryDirectory(prefix="prime-spark-edge-") as name:
        work = Path(name)
        if target.quantize:
            margin = context.settings.gate.accuracy_margin
            small = work / "small.onnx"
            shipped = quantize(file, evaluation, small, margin=margin, threads=threads)
        else:
            shipped = original(file, evaluation, threads=threads)
        return build_edge(file, shipped, target.folder.expanduser(), work).reason


def to_predictor(
    context: Context,
    target: DeploymentTargetSettings,
    file: ModelFile,
    evaluation: EvaluationData | None,
) -> str:
    """Copy the file into the remote predictor's registry and let it be served; return what is.

    Raises:
        ConfigError: the target names no address, or follows this very registry.
        ConflictError: the predictor did not follow; its aliases are as before.
    """
    from optimizers.deployment.remote import NamedAliases, Remote
    from registry.alias_client import AliasClient
    from registry.aliases import AliasMover
    from registry.mlflow_models import ModelRegistry

    if target.url is None or target.registry is None:
        raise ConfigError(
            f"the deployment target {target.name} needs a url and a registry of its own; without a "
            "registry it follows this one by itself"
        )
    if target.registry.rstrip("/") == context.tracking_uri.rstrip("/"):
        raise InputError(f"the deployment target {target.name} follows this very registry")
    there = ModelRegistry(target.registry, context.clock).register(
        file.model,
        file.path,
        evaluation=evaluation,
        description=f"deployed: version {file.version} of {context.settings.mlflow.experiment}",
    )
    client = AliasClient(target.registry, timeout_s=context.settings.mlflow.timeout_seconds)
    aliases = NamedAliases(target.name, client)
    mover = AliasMover(context.engine, context.clock, aliases)
    remote = Remote(target.url, aliases, mover, context.clock, time.sleep, _FOLLOW_S)
    return remote.deploy(file.model, there.version, f"our version {file.version}")
