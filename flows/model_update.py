"""Flow `model_update`: registers a model found in the watched folder or in another registry."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.artefacts import done
from flows.context import open_context
from flows.forms import ModelName

Reference = Annotated[
    str,
    Field(
        title="Where it is",
        description="folder:<model>/<file>.onnx, or registry:<version> of the other registry.",
        min_length=1,
        max_length=1000,
    ),
]
Digest = Annotated[
    str,
    Field(title="SHA-256", description="Of the file that was found.", pattern="^[0-9a-f]{64}$"),
]


@flow(name="model_update", flow_run_name="model-update-{model}", persist_result=False)
def model_update(model: ModelName, reference: Reference, digest: Digest) -> State[None]:
    """Bring a model file in as a new version; it is benchmarked and tried like any other.

    A file that is not safe ONNX, or is another one than was found, is refused. Registered already,
    nothing changes.
    """
    from flows.starting import start_next
    from optimizers.models.sources import update_sources

    context = open_context()
    with tempfile.TemporaryDirectory(prefix="prime-spark-update-") as folder:
        incoming = update_sources(context.settings, context.clock).bring(
            model, reference, digest, Path(folder)
        )
        version = context.registry.register(
            model,
            incoming.path,
            evaluation=incoming.evaluation,
            description=incoming.description,
        )
    get_run_logger().info(start_next(context, context.desk(), model, version.version))
    return done("Registered", f"version {version.version} of {model} {incoming.description}")
