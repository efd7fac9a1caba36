"""`prime-spark`: the command line, where errors end as one sentence and an exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from config.errors import PrimeSparkError
from flows.commands import agents, reading, running, writing
from flows.commands.agent import add_agent_commands
from flows.commands.output import EXIT_CODES_HELP, EXIT_INTERRUPTED, complain, exit_code
from flows.commands.tuning import tune
from flows.commands.world import world_of

app = typer.Typer(
    name="prime-spark",
    help="Look after the models of an MLflow registry and the systems around them, by an agent "
    "that measures what it does.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(running.up)
app.command()(agents.agent)
app.command()(agents.api)
app.command()(running.doctor)
app.command()(running.deploy)
app.add_typer(running.config, name="config")
app.command()(reading.models)
app.command()(reading.versions)
app.command()(writing.register)
app.command()(writing.adopt)
app.command()(reading.route)
app.command()(reading.experiments)
app.command()(reading.history)
app.command()(reading.events)
app.command()(writing.promote)
app.command()(writing.rollback)
add_agent_commands(app)
app.add_typer(tune, name="tune")


@app.callback()
def _global_options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Your settings file (see config/agent.yaml)."
        ),
    ] = None,
) -> None:
    context.obj = world_of(config)


def main() -> None:
    """Run the command line; a user's mistake gives one sentence, never a traceback."""
    try:
        app(prog_name="prime-spark")
    except PrimeSparkError as error:
        complain(str(error))
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
