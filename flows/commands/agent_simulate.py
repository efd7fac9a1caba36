"""`simulate`: what would have been done lately, with other settings, from what was observed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.clock import epoch
from config.errors import InputError
from config.variables import PREFIX
from flows.commands.agent_reading import Json
from flows.commands.output import write_json
from flows.commands.world import CommandWorld, located

if TYPE_CHECKING:
    from config.settings import Settings
    from flows.context import Context
    from optimizers.replay import ReplayResult
    from optimizers.view import View

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def simulate(
    context: typer.Context,
    last: Annotated[str, typer.Option(help="How far back: 90m, 12h, 7d, 2w.")] = "7d",
    settings: Annotated[
        Path | None, typer.Option("--settings", help="A settings file to try.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting to try, as safety.enable_automatic_actions=false."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay what was observed through the decision engine: what would have been done.

    Nothing is changed and nothing is recorded. The world does not react to what is only imagined.
    """
    world: CommandWorld = context.obj
    tried = _tried(world, settings, change or [])
    root = world.context()
    try:
        result = _replayed(root, tried, span_of(last))
    finally:
        root.close()
    if as_json:
        write_json(result.to_dict())
    else:
        typer.echo(result.to_text())


def span_of(text: str) -> float:
    """Return a span such as `7d` in seconds.

    Raises:
        InputError: it is no span, or none that could be replayed.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhdw])", text.strip())
    if found is None or float(found[1]) == 0.0:
        raise InputError(f"{text!r} is no span of time; write 90m, 12h, 7d or 2w")
    return float(found[1]) * _SECONDS[found[2]]


def _tried(world: CommandWorld, file: Path | None, changes: list[str]) -> Settings:
    """The settings to try, on the servers and the ledger of the user's own."""
    variables = {}
    for one in changes:
        name, equals, value = one.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name):
            raise InputError(f"--set {one}: write a setting's name and value, as a.b=1")
        variables[PREFIX + name.replace(".", "__").upper()] = value
    own = located(world.settings())
    tried = replace(
        world, config_file=file or world.config_file, environ={**world.environ, **variables}
    ).settings()
    places = {"home": own.home, "ledger": own.ledger, "mlflow": own.mlflow}
    return tried.model_copy(update=places | {"prefect": own.prefect, "serving": own.serving})


def _replayed(root: Context, tried: Settings, span_s: float) -> ReplayResult:
    from flows.context import Context
    from flows.resident.plugging import plugin_context
    from optimizers.plugins import load_capabilities
    from optimizers.replay import WINDOW_S, replay
    from registry.observations import ObservationStore

    trying = Context(tried, root.clock)
    try:
        capabilities = load_capabilities(plugin_context(trying)).parts.values()
        until = epoch(root.clock.now())
        since = until - span_s
        history = ObservationStore(root.engine).history(since - WINDOW_S, until)
        if not history:
            raise InputError(
                "nothing was observed in that time; the agent records it while it runs"
            )
        # Before anything was observed there is nothing to replay.
        first = min(seen[0].at for seen in history.values())
        return replay(
            history,
            tuple(capabilities),
            tried,
            since=max(since, first),
            until=until,
            start=_known(root, until),
        )
    finally:
        trying.close()


def _known(root: Context, at: float) -> View:
    from optimizers.view import View
    from registry.agent_control import ControlStore
    from registry.agent_learning import LearningStore

    control = ControlStore(root.engine, root.clock)
    return View(
        at=at,
        learned=LearningStore(root.engine, root.clock).all(),
        held=control.held(),
        declined=control.all_declined(),
    )
