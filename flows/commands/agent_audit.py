"""Commands that prove and export the ledger. They read it directly: no API has to be trusted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.errors import InputError
from flows.commands.agent_reading import Json
from flows.commands.output import EXIT_FAILED, write_json
from flows.commands.world import CommandWorld

if TYPE_CHECKING:
    from registry.audit import Audit

audit = typer.Typer(no_args_is_help=True, help="Prove that the ledger is whole, and export it.")


@audit.command("verify")
def audit_verify(context: typer.Context, as_json: Json = False) -> None:
    """Check that no entry was changed, dropped, reordered or cut off. Exits with 1 if one was.

    The whole chain is computed again and compared with its head as anchored in MLflow.
    """
    with _auditing(context) as audit_:
        report = audit_.verify()
    if as_json:
        write_json(report)
    elif report.ok:
        typer.echo(f"all {report.checked} entries follow from one another; none was altered")
        typer.echo(f"anchor: {report.anchor_detail}")
    else:
        place = f"entry {report.broken_id}: " if report.broken_id is not None else ""
        typer.echo(f"the ledger was altered: {place}{report.reason}")
        typer.echo(f"anchor: {report.anchor_detail}")
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@audit.command("export")
def audit_export(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--file", "-o", help="Write here, not to standard output.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only after this entry.")] = 0,
) -> None:
    """Write all entries as JSON lines, oldest first, each with its hash and the one before."""
    with _auditing(context) as audit_:
        lines = audit_.export(after)
        if file is None:
            sys.stdout.writelines(f"{line}\n" for line in lines)
            return
        try:
            with file.open("x", encoding="utf-8") as stream:
                count = sum(1 for line in lines if stream.write(f"{line}\n"))
        except OSError as error:
            raise InputError(f"cannot write {file}: {error.strerror}") from error
    typer.echo(f"{count} entries written to {file}")


@audit.command("anchor")
def audit_anchor(
    context: typer.Context,
    anew: Annotated[
        bool, typer.Option("--anew", help="Whatever the anchor says, after you have looked.")
    ] = False,
) -> None:
    """Anchor the ledger's head in MLflow now; the agent does so by itself from time to time."""
    with _auditing(context) as audit_:
        anchored = audit_.anchor(anew=anew)
    if anchored is None:
        typer.echo("there is nothing new to anchor, or no MLflow server is set")
    else:
        typer.echo(f"entry {anchored.id} is anchored")


@contextmanager
def _auditing(context: typer.Context) -> Iterator[Audit]:
    from registry.audit import Audit
    from registry.audit_anchor import AnchorTag

    world: CommandWorld = context.obj
    root = world.context()
    mlflow = root.settings.mlflow
    tag = None
    if mlflow.tracking_uri is not None:
        timeout_s = mlflow.timeout_seconds
        tag = AnchorTag(mlflow.tracking_uri, mlflow.experiment, timeout_s=timeout_s)
    try:
        yield Audit(root.engine, root.clock, tag)
    finally:
        if tag is not None:
            tag.close()
        root.close()
