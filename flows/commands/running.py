"""Commands that start, check and set up: up, doctor, deploy, config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.clock import SystemClock
from config.variables import CONFIG_VARIABLE, PREFIX
from flows.commands.output import EXIT_FAILED, write_json
from flows.commands.world import CommandWorld

if TYPE_CHECKING:
    from flows.up.run import UpOptions

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]


def up(
    context: typer.Context,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Tell the story of the model life-cycle on real models and traffic, in a home of "
            "its own; only home and ports are taken from your settings file.",
        ),
    ] = False,
    exit_after: Annotated[
        bool, typer.Option("--exit", help="With --demo: end after the story.")
    ] = False,
    stop_with_parent: Annotated[bool, typer.Option("--stop-with-parent", hidden=True)] = False,
) -> None:
    """Start all servers, the agent and its API, and stay until Ctrl-C.

    Servers that are set (mlflow.tracking_uri, prefect.api_url, ledger.url) are used as they are.
    """
    from flows.up.run import run_up
    from flows.up.screen import open_screen

    if exit_after and not demo:
        raise typer.BadParameter("--exit goes with --demo")
    if stop_with_parent:
        _stop_with_parent()
    world: CommandWorld = context.obj
    options = _demo_options(world, exit_after=exit_after) if demo else _own_options(world)
    clock = SystemClock()
    screen = open_screen(clock)
    try:
        code = run_up(options, screen, clock)
    finally:
        screen.close()
    raise typer.Exit(code)


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Check versions, ports, permissions and servers: one line a problem, with its remedy."""
    from flows.doctor import examine

    world: CommandWorld = context.obj
    findings = examine(world.settings(), world.clock)
    problems = [finding for finding in findings if not finding.ok]
    if as_json:
        write_json({"ok": not problems, "findings": findings})
    for finding in problems if not as_json else ():
        typer.echo(f"{finding.check}: {finding.text}: {finding.remedy}")
    if not as_json and not problems:
        typer.echo(f"no problems found ({len(findings)} checks)")
    if problems:
        raise typer.Exit(EXIT_FAILED)


def deploy(context: typer.Context) -> None:
    """Make the flows known to the Prefect server, as deployments of its work pool."""
    world: CommandWorld = context.obj
    prime_spark = world.context()
    from flows.deployments import deploy as apply

    for name in apply(prime_spark.settings):
        typer.echo(name)


config = typer.Typer(no_args_is_help=True, help="Look at the settings.")


@config.command("check")
def config_check(context: typer.Context, as_json: Json = False) -> None:
    """Read all settings; say what is wrong with them, if anything."""
    from flows.commands.agent_config import check_agent

    world: CommandWorld = context.obj
    settings = world.settings()
    check_agent(settings)
    if as_json:
        write_json(settings.model_dump(mode="json"))
        return
    file = _config_file(world)
    typer.echo(f"the settings are right ({'defaults' if file is None else file})")


def _stop_with_parent() -> None:
    from flows.up.launch import end_with_parent

    end_with_parent(os.getppid())


def _own_options(world: CommandWorld) -> UpOptions:
    from flows.up.run import UpOptions

    settings = world.settings()
    return UpOptions(settings, _config_file(world), world.environ)


def _config_file(world: CommandWorld) -> Path | None:
    named = world.config_file or world.environ.get(CONFIG_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


_SERVER_VARIABLES = ("LEDGER__", "MLFLOW__", "PREFECT__")


def _demo_options(world: CommandWorld, *, exit_after: bool) -> UpOptions:
    """Return options that keep the demo away from the user's home, servers and settings file."""
    from config.loader import load_settings
    from flows.demo.pace import demo_variables
    from flows.up.run import UpOptions

    own = world.settings()
    environment = {
        name: value
        for name, value in world.environ.items()
        if name != CONFIG_VARIABLE
        and not name.startswith(tuple(PREFIX + server for server in _SERVER_VARIABLES))
    }
    environment |= {
        f"{PREFIX}HOME": str(own.home_dir.root / "demo"),
        f"{PREFIX}PORTS__PREFECT": str(own.ports.prefect),
        f"{PREFIX}PORTS__MLFLOW": str(own.ports.mlflow),
        f"{PREFIX}SERVING__PORT": str(own.serving.port),
    }
    environment |= demo_variables(environment)
    settings = load_settings(None, environment)
    return UpOptions(settings, None, environment, demo=True, exit_after=exit_after)
