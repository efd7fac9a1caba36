"""`tune`: what the agent tunes by itself, at once and by hand."""

from __future__ import annotations

import typer

from flows.commands.tune_model import model
from flows.commands.tune_now import now

tune = typer.Typer(
    help="Tune models, servers and the machine at once, measured as the agent does it.",
    no_args_is_help=True,
)
tune.command()(now)
tune.command()(model)
