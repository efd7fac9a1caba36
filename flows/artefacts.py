"""What a flow run leaves in Prefect's UI: a table of numbers and a link to its MLflow run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Completed

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from registry.mlflow_runs import RunRef

Row = dict[str, str | float | int | None]


def run_id() -> str:
    """The id of the flow run that asks."""
    return str(flow_run.id)


def show_table(key: str, rows: Sequence[Row], description: str) -> None:
    """Show a table on the flow run's page."""
    create_table_artifact(list(rows), key=_key(key), description=description)


def show_link(key: str, run: RunRef, description: str) -> None:
    """Link the flow run's page to its MLflow run."""
    create_link_artifact(run.url, link_text="MLflow run", key=_key(key), description=description)


def done(name: str, reason: str) -> State[None]:
    """The end of a flow run that says what came of it, on its page and in its lists."""
    state: State[None] = Completed(name=name, message=reason)
    return state


def _key(text: str) -> str:
    """An artefact's key takes lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "artefact"
