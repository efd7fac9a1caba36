"""Commands that change something: register, adopt, promote, rollback."""

from __future__ import annotations

import getpass
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.errors import InputError
from flows.commands.output import write_json
from flows.commands.reading import Json, Model, root

if TYPE_CHECKING:
    from optimizers.models.promotion import Promotion

Version = Annotated[int, typer.Argument(min=1, help="Version number.")]


def register(  # noqa: PLR0913, PLR0917 - one parameter is one option of the command
    context: typer.Context,
    model: Model,
    file: Annotated[Path, typer.Argument(help="The ONNX file.")],
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Evaluation data: an .npz file with the arrays inputs and labels."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A measured metric, as accuracy=0.97; repeatable.")
    ] = None,
    description: Annotated[str, typer.Option(help="What is new about it.")] = "",
    as_json: Json = False,
) -> None:
    """Register an ONNX file as a new version of a model.

    The agent finds it, benchmarks it, tries it on live traffic and promotes it if it is better.
    """
    from registry.evaluation import evaluation_from_bytes

    data = evaluation_from_bytes(_content(evaluation)) if evaluation else None
    metrics = dict(_metric(text) for text in metric or [])
    if not file.is_file():
        raise InputError(f"{file} is no file; name the model's .onnx file")
    version = root(context).registry.register(
        model, file, evaluation=data, metrics=metrics, description=description, tags={}
    )
    if as_json:
        write_json(version)
    else:
        typer.echo(f"{model} version {version.version} registered, sha256 {version.digest}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise InputError(f"--metric {text}: write name=number, as accuracy=0.97")
    return name, number


def adopt(context: typer.Context, model: Model, version: Version, as_json: Json = False) -> None:
    """Pin the file of a version that was registered with plain MLflow, so that it can be served."""
    adopted = root(context).registry.adopt(model, version)
    if as_json:
        write_json(adopted)
    else:
        typer.echo(f"{model} version {version} adopted, sha256 {adopted.digest}")


def promote(context: typer.Context, model: Model, version: Version, as_json: Json = False) -> None:
    """Make a version the champion that has won its trial.

    Without a won trial nothing is promoted here; move @champion in the MLflow UI if you want to.
    """
    from optimizers.models.promotion import promote as promoted

    prime_spark = root(context)
    _report(
        promoted(
            prime_spark.desk(),
            model,
            version,
            prime_spark.serving,
            actor=_actor(),
            flow_run_id=None,
        ),
        as_json=as_json,
    )


def rollback(
    context: typer.Context,
    model: Model,
    leaves: Annotated[
        int | None, typer.Argument(help="The champion to leave; by default the present one.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the alias history.")] = "asked by a person",
    as_json: Json = False,
) -> None:
    """Bring the champion before the present one back."""
    from optimizers.models.promotion import roll_back
    from registry.records import CHAMPION_ALIAS

    prime_spark = root(context)
    leaves = leaves or prime_spark.reader.aliases(model).get(CHAMPION_ALIAS)
    if leaves is None:
        raise InputError(f"{model} has no champion that could be rolled back")
    _report(
        roll_back(
            prime_spark.desk(),
            model,
            leaves,
            prime_spark.serving,
            actor=_actor(),
            reason=reason,
            flow_run_id=None,
        ),
        as_json=as_json,
    )


def _report(promotion: Promotion, *, as_json: bool) -> None:
    if as_json:
        write_json(promotion)
    else:
        typer.echo(
            f"{promotion.model} @champion is version {promotion.version}, @previous is "
            f"{promotion.former or 'none'}; {promotion.serving}"
        )


def _actor() -> str:
    return f"{getpass.getuser()}, by prime-spark"
