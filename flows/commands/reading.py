"""Commands that read: models, versions, routes, experiments, alias history, events."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.output import EXIT_FAILED, show_table, write_json
from flows.commands.world import CommandWorld

if TYPE_CHECKING:
    from flows.context import Context
    from registry.ledger.events import EventLog, LedgerEntry

_PAGE = 1000

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
Model = Annotated[str, typer.Argument(help="Name of the registered model.")]
OptionalModel = Annotated[str | None, typer.Argument(help="Only this model.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most rows to show.")]


def root(context: typer.Context) -> Context:
    """Return the composition root of this command's world."""
    world: CommandWorld = context.obj
    return world.context()


def models(context: typer.Context, as_json: Json = False) -> None:
    """List the registered models and their aliases."""
    aliases = root(context).reader.all_aliases()
    if as_json:
        write_json([{"model": name, "aliases": found} for name, found in sorted(aliases.items())])
        return
    show_table(
        ("model", "champion", "challenger", "previous", "other aliases"),
        [
            (
                name,
                *(found.get(alias) for alias in _OWN_ALIASES),
                ", ".join(f"{k}: {v}" for k, v in sorted(found.items()) if k not in _OWN_ALIASES),
            )
            for name, found in sorted(aliases.items())
        ],
        empty="no models yet; add one: prime-spark register MODEL FILE.onnx",
    )


_OWN_ALIASES = ("champion", "challenger", "previous")


def versions(context: typer.Context, model: Model, as_json: Json = False) -> None:
    """List the versions of a model: where each stands in its life-cycle, and why."""
    from registry.lifecycle import LifecycleStore

    prime_spark = root(context)
    reader = prime_spark.reader
    aliases = reader.aliases(model)
    lifecycle = LifecycleStore(prime_spark.engine, prime_spark.clock)
    stages = {stage.version: stage for stage in lifecycle.all(model)}
    found = [
        (version, stages.get(version.version), names_of(aliases, version.version))
        for version in reader.versions(model)
    ]
    if as_json:
        write_json([{"version": v, "stage": stage, "aliases": names} for v, stage, names in found])
        return
    show_table(
        ("version", "aliases", "stage", "metrics", "why"),
        [
            (
                version.version,
                ", ".join(f"@{name}" for name in names),
                "retired" if version.retired else stage.stage if stage else None,
                ", ".join(f"{name} {value:.4g}" for name, value in version.metrics.items()),
                stage.reason if stage else None,
            )
            for version, stage, names in found
        ],
        empty=f"{model} has no versions yet",
    )


def names_of(aliases: dict[str, int], version: int) -> list[str]:
    """Return the aliases that name a version, sorted."""
    return sorted(name for name, number in aliases.items() if number == version)


def route(context: typer.Context, model: Model, as_json: Json = False) -> None:
    """Show how the traffic of a model is wanted to be split."""
    from registry.routing import RouteStore

    prime_spark = root(context)
    now = RouteStore(prime_spark.engine, prime_spark.clock).current(model)
    if as_json:
        write_json(now)
        return
    show_table(
        ("model", "revision", "mode", "champion", "challenger", "share", "since", "by", "why"),
        [
            (
                now.model,
                now.revision,
                now.mode,
                now.champion,
                now.challenger,
                f"{now.weight:.0%}",
                now.at,
                now.by,
                now.reason or "no experiment yet: @champion answers all requests",
            )
        ],
        empty="",
    )


def experiments(
    context: typer.Context,
    model: OptionalModel = None,
    as_json: Json = False,
    looks: Annotated[bool, typer.Option("--looks", help="With every look, in JSON.")] = False,
) -> None:
    """List A/B tests and shadow runs with their verdicts, newest first."""
    from registry.experiments import ExperimentStore

    prime_spark = root(context)
    store = ExperimentStore(prime_spark.engine, prime_spark.clock)
    found = list(reversed(store.all(model)))
    if as_json or looks:
        write_json(
            [{"experiment": one, "looks": store.looks(one.id)} if looks else one for one in found]
        )
        return
    show_table(
        ("experiment", "model", "mode", "versions", "share", "started", "verdict", "why"),
        [
            (
                one.id,
                one.model,
                one.mode,
                f"{one.champion} → {one.challenger}",
                f"{one.weight:.0%}",
                one.started_at,
                one.verdict or one.state,
                one.reason,
            )
            for one in found
        ],
        empty="no experiments yet; watch_models starts one for each version that passes its gate",
    )


def history(
    context: typer.Context, model: Model, as_json: Json = False, limit: Limit = 100
) -> None:
    """Show who moved which alias, when and why; newest first."""
    moves = root(context).alias_history.list(model)
    moves = sorted(moves, key=lambda move: move.id, reverse=True)[:limit]
    if as_json:
        write_json(moves)
        return
    show_table(
        ("when", "alias", "from", "to", "who", "seen from outside", "state", "why"),
        [
            (
                move.at,
                f"@{move.alias}",
                move.before,
                move.after,
                move.actor,
                move.outside,
                move.state,
                move.reason,
            )
            for move in moves
        ],
        empty=f"no alias of {model} has been moved yet",
    )


def events(
    context: typer.Context,
    as_json: Json = False,
    subject: Annotated[str | None, typer.Option(help="Only of this subject.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only after this entry.")] = 0,
    limit: Limit = 100,
    verify: Annotated[bool, typer.Option("--verify", help="Check the hash chain.")] = False,
) -> None:
    """Show the ledger's newest events, oldest first, or check that none was altered."""
    from registry.ledger.events import EventLog

    prime_spark = root(context)
    log = EventLog(prime_spark.engine, prime_spark.clock)
    if verify:
        _verify(log, as_json=as_json)
        return
    found = _newest(log, subject, after, limit)
    if as_json:
        write_json(found)
        return
    show_table(
        ("entry", "when", "kind", "subject", "what"),
        [(entry.id, entry.at, entry.kind, entry.subject, _in_words(entry.body)) for entry in found],
        empty="the ledger has no such events",
    )


def _newest(log: EventLog, subject: str | None, after: int, limit: int) -> list[LedgerEntry]:
    newest: deque[LedgerEntry] = deque(maxlen=limit)
    while page := log.list(subject=subject, after=after, limit=_PAGE):
        newest.extend(page)
        after = page[-1].id
    return list(newest)


def _verify(log: EventLog, *, as_json: bool) -> None:
    result = log.verify()
    if as_json:
        write_json(result)
    elif result.ok:
        typer.echo(f"all {result.checked} entries follow from one another; none was altered")
    else:
        typer.echo(f"entry {result.broken_id} was altered or is missing: {result.reason}")
    if not result.ok:
        raise typer.Exit(EXIT_FAILED)


def _in_words(body: Mapping[str, object]) -> str:
    simple = {name: value for name, value in body.items() if not isinstance(value, dict | list)}
    return ", ".join(f"{name} {value}" for name, value in simple.items() if value is not None)
