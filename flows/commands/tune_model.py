"""`tune model`: how a model's requests are best run together, before it is served or since."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.errors import InputError
from flows.commands.output import EXIT_FAILED, show_table, write_json
from flows.commands.reading import Json
from flows.commands.world import CommandWorld

if TYPE_CHECKING:
    from benchmarks.batching.present import Outcome
    from benchmarks.batching.settings import BatchSetting
    from benchmarks.batching.traffic import Recording
    from benchmarks.batching.tuning import Question, Tuned
    from flows.context import Context
    from registry.knobs import KnobStore

_COLUMNS = ("", "rows", "wait ms", "threads", "spinning", "p99 ms", "mean ms", "sustained rate /s")
_DRAWN = 6000
_NAMES = ("max_batch_size", "max_wait_ms", "intra_op_threads", "allow_spinning")


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is tuned; `name` and `version` are None for a file that is not registered."""

    path: Path
    name: str | None = None
    version: int | None = None

    @property
    def scope(self) -> str:
        """Where its knobs are."""
        return f"serving/{self.name}"


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Which traffic to tune for."""

    arrivals: Path | None
    rate: float | None
    rows: int


def model(  # noqa: PLR0913, PLR0917 - one parameter is one option of the command
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="FILE_OR_MODEL", help="An ONNX file, or MODEL[:VERSION].")
    ],
    objective: Annotated[
        float | None,
        typer.Option(min=0.01, max=600_000.0, help="Latency objective for p99, milliseconds."),
    ] = None,
    arrivals: Annotated[
        Path | None, typer.Option(help="Recorded arrivals: a file with one time a line.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, max=1e6, help="Random arrivals, so many a second.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=4096, help="Rows of a request.")] = 1,
    seconds: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Time to take.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of random arrivals and run times.")] = 1,
    apply: Annotated[bool, typer.Option("--apply", help="Write the best for the model.")] = False,
    as_json: Json = False,
) -> None:
    """Find how a model's requests are best run together.

    Runs of the model are timed here; its traffic (recorded by the predictor, from a file, or
    random) is replayed on those times, and the settings that stand the most of it within the
    objective are searched. Rates and latencies are predicted, not measured.
    """
    from benchmarks.batching.tuning import tune

    world: CommandWorld = context.obj
    prime_spark = world.context()
    chosen = _subject(prime_spark, subject)
    if apply and chosen.name is None:
        raise InputError(f"{subject} is a file; register it and name the model to use --apply")
    question = _question(prime_spark, chosen, _Traffic(arrivals, rate, rows), seconds, seed)
    tuned = tune(_with_objective(question, objective))
    applied = _apply(prime_spark, chosen, tuned) if apply else False
    if as_json:
        write_json(tuned.to_dict() | {"applied": applied})
    else:
        _show(tuned, applied=applied)
    if tuned.best is None:
        raise typer.Exit(EXIT_FAILED)


def _subject(prime_spark: Context, text: str) -> _Subject:
    path = Path(text)
    if path.is_file():
        return _Subject(path)
    if path.suffix == ".onnx" or len(path.parts) > 1:
        raise InputError(f"{text} is no file; name an ONNX file, or a registered model")
    name, _, wanted = text.partition(":")
    reader = prime_spark.reader
    version = _version(wanted) if wanted else _served(prime_spark, name)
    return _Subject(reader.fetch(name, version).path, name, version)


def _version(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{text!r} is no version; write MODEL:VERSION, as digits:3")
    return int(text)


def _served(prime_spark: Context, name: str) -> int:
    """The champion, else the newest version."""
    from registry.records import CHAMPION_ALIAS

    reader = prime_spark.reader
    champion = reader.aliases(name).get(CHAMPION_ALIAS)
    if champion is not None:
        return champion
    versions = [one.version for one in reader.versions(name)]
    if not versions:
        raise InputError(f"{name} has no version; register one first")
    return max(versions)


def _question(
    prime_spark: Context,
    chosen: _Subject,
    traffic: _Traffic,
    seconds: float,
    seed: int,
) -> Question:
    from benchmarks.batching.settings import Bounds
    from benchmarks.batching.tuning import Question
    from registry.traffic import read_inputs

    settings = prime_spark.settings
    own, serving = settings.performance.batch_inference, settings.serving
    cores = len(os.sched_getaffinity(0))
    folder = settings.home_dir.traffic
    return Question(
        path=chosen.path,
        recording=_recording(folder, chosen, traffic, seed),
        objective_ms=serving.latency_objective_ms,
        current=_current(prime_spark, chosen),
        bounds=Bounds(own.max_batch_size, own.max_wait_ms, own.max_threads or cores),
        wanted_ms=own.latency_ms,
        inputs=read_inputs(folder, chosen.name) if chosen.name else (),
        cores=cores,
        workers=serving.workers,
        queue_limit=serving.queue_limit,
        timeout_s=serving.request_timeout_seconds,
        seconds=seconds,
        seed=seed,
    )


def _with_objective(question: Question, objective_ms: float | None) -> Question:
    from dataclasses import replace

    return question if objective_ms is None else replace(question, objective_ms=objective_ms)


def _recording(folder: Path, chosen: _Subject, wanted: _Traffic, seed: int) -> Recording:
    import numpy as np

    from benchmarks import arrivals
    from benchmarks.batching import traffic

    if wanted.arrivals is not None and wanted.rate is not None:
        raise InputError("--arrivals and --rate exclude each other; give one of them")
    if wanted.arrivals is not None:
        return traffic.recorded(arrivals.from_file(wanted.arrivals), wanted.rows)
    if wanted.rate is not None:
        return traffic.poisson(_DRAWN, np.random.default_rng(seed), wanted.rows, wanted.rate)
    if chosen.name is None or chosen.version is None:
        raise InputError(
            "the file has no recorded traffic; say what to expect with --rate or --arrivals"
        )
    return traffic.busiest(traffic.recent(folder, chosen.name, chosen.version))


def _current(prime_spark: Context, chosen: _Subject) -> BatchSetting:
    """What is in use: the knobs that were written, else the settings."""
    from benchmarks.batching.settings import BatchSetting, Session
    from serving.knobs import knobs_for

    serving = prime_spark.settings.serving
    known: dict[str, float] = {
        "max_batch_size": serving.max_batch_size,
        "max_wait_ms": serving.max_wait_ms,
        "intra_op_threads": serving.intra_op_threads,
        "allow_spinning": 1.0,
    }
    if chosen.name is not None and chosen.version is not None:
        written = _store(prime_spark).read_all()
        known |= knobs_for(serving, chosen.name, chosen.version, written)
    threads = int(known["intra_op_threads"])
    session = Session(threads, spinning=threads == 1 or bool(known["allow_spinning"]))
    return BatchSetting(int(known["max_batch_size"]), known["max_wait_ms"], session)


def _store(prime_spark: Context) -> KnobStore:
    from registry.knobs import KnobStore

    return KnobStore(prime_spark.engine, prime_spark.clock)


def _apply(prime_spark: Context, chosen: _Subject, tuned: Tuned) -> bool:
    """Write the best setting, if the knobs are as they were read; False when it is in use."""
    if tuned.best is None or tuned.best.setting == tuned.current.setting:
        return False
    store = _store(prime_spark)
    before = store.read(chosen.scope)
    store.write_many(
        chosen.scope,
        {name: before.get(name) for name in _NAMES},
        tuned.best.setting.knob(),
        by=f"{getpass.getuser()}, by prime-spark",
        reason=f"tuned for {tuned.objective_ms:g} ms at {tuned.rate:.3g} requests a second",
    )
    return True


def _show(tuned: Tuned, *, applied: bool) -> None:
    shown = [("in use", tuned.current)] + ([("best", tuned.best)] if tuned.best else [])
    rows = [_row(name, one.setting, one) for name, one in shown]
    rows += [_row("tried", setting, None, rate) for setting, rate in tuned.tried]
    show_table(_COLUMNS, rows, empty="nothing was tried")
    typer.echo(
        f"Predicted from {tuned.requests} arrivals, {tuned.rate:.4g} a second, for a p99 of "
        f"{tuned.objective_ms:g} ms; {len(tuned.tried)} of {tuned.grid} settings tried in "
        f"{tuned.seconds:.0f} s. Rates of settings that were not the best are about."
    )
    if tuned.best is None or tuned.objective_ms != tuned.asked_ms:
        typer.echo(
            f"No setting meets {tuned.asked_ms:g} ms; allow requests more time, or use a lighter "
            "model."
        )
    if tuned.best and tuned.best.setting == tuned.current.setting:
        typer.echo("The setting in use is the best of those tried.")
    elif applied:
        typer.echo("The best is written; the predictor follows within a few seconds.")


def _row(
    name: str, setting: BatchSetting, outcome: Outcome | None, rate: float | None = None
) -> tuple[object, ...]:
    session = setting.session
    latencies = (outcome.p99_ms, outcome.mean_ms) if outcome else (None, None)
    spinning = session.spinning if session.threads > 1 else None
    return (
        name,
        setting.max_batch_size,
        setting.max_wait_ms,
        session.threads,
        spinning,
        *latencies,
        outcome.rate if outcome else rate,
    )
