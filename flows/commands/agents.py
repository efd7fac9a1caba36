"""Commands that run the agent and its API in the foreground: agent, api."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from flows.commands.world import CommandWorld, located


def agent(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Write to the log file only, not to the terminal.")
    ] = False,
) -> None:
    """Run the autonomous agent in the foreground, until SIGTERM or Ctrl-C.

    It finds the servers of a running `prime-spark up`. Of several agents on one ledger one leads;
    the others stand by.
    """
    world: CommandWorld = context.obj
    prime_spark = world.context()
    from flows.agent import run_agent

    code = run_agent(prime_spark, to_terminal=not quiet)
    # A look that hangs must not hold the end up: everything that counts is in the ledger.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def api(context: typer.Context) -> None:
    """Run the agent's REST API in the foreground, until SIGTERM or Ctrl-C."""
    world: CommandWorld = context.obj
    settings = located(world.settings())
    from serving.api.server import serve

    serve(settings)
