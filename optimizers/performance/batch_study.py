"""What `batch_inference` finds out about a model: a process that tunes it, and its answer.

Timing runs and replaying traffic takes tens of seconds of a core. It is done by a process of its
own at the lowest priority that matters (nice 15), so that the predictor beside it keeps its cores;
the study says what processor time it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from config.errors import InputError, UnavailableError
from config.settings import Settings
from optimizers.plugins import PluginContext
from optimizers.targets.serving import ServedArm

FetchModel = Callable[[str, int], Path]
"""Returns the file of a version of a model."""

# Of the time there is: what the process is told, so that it is done before it is stopped.
_TOLD = 0.5
_MOST_S = 30.0
_LEAST_S = 2.0


class Batching(BaseModel):
    """A setting, as the knob `batching` has it."""

    model_config = ConfigDict(frozen=True)

    max_batch_size: int
    max_wait_ms: float
    intra_op_threads: int
    allow_spinning: int


class Outcome(BaseModel):
    """What a setting promises; see `benchmarks.batching.present.Outcome`.

    A latency that is None has no end: the setting does not stand the traffic.
    """

    model_config = ConfigDict(frozen=True)

    setting: Batching
    rate: float | None
    p99_ms: float | None
    mean_ms: float | None
    cpu_ms: float


class Gain(BaseModel):
    """The predicted share by which the mean latency falls."""

    model_config = ConfigDict(frozen=True)

    mean: float
    low: float
    high: float


class BatchStudy(BaseModel):
    """A model, tuned on its recorded traffic.

    Attributes:
        before: the knob as it was read.
        live: the best setting that is better for the present traffic, too; None: there is none.
        tried: settings that were replayed, of `grid`.
        cpu_s: processor seconds that the study took.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    before: JsonValue = None
    current: Outcome
    best: Outcome | None
    live: Outcome | None
    gain: Gain | None
    requests: int
    rate: float
    grid: int
    tried: int
    seconds: float
    cpu_s: float


def batching_of(arm: ServedArm, settings: Settings) -> Batching:
    """The setting that a version is run by now."""
    serving, knobs = settings.serving, arm.knobs
    threads = int(knobs.get("intra_op_threads", serving.intra_op_threads))
    return Batching(
        max_batch_size=int(knobs.get("max_batch_size", serving.max_batch_size)),
        max_wait_ms=float(knobs.get("max_wait_ms", serving.max_wait_ms)),
        intra_op_threads=threads,
        # One thread has nobody who could spin.
        allow_spinning=1 if threads == 1 else int(knobs.get("allow_spinning", 1)),
    )


def fetch_from(context: PluginContext) -> FetchModel:
    """Fetch from the registry that is known, through the cache of this machine."""

    def fetch(model: str, version: int) -> Path:
        from registry.reader import RegistryReader  # noqa: PLC0415 - only studies fetch

        uri = context.addresses.get("mlflow")
        if uri is None:
            raise UnavailableError("the registry's address is not known; set mlflow.tracking_uri")
        home = context.settings.home_dir.create()
        reader = RegistryReader(
            uri, home.model_cache, timeout_s=context.settings.mlflow.timeout_seconds
        )
        try:
            return reader.fetch(model, version).path
        finally:
            reader.close()

    return fetch


def study_of(
    settings: Settings,
    *,
    model: str,
    arm: ServedArm,
    traffic: Path | None,
    fetch: FetchModel,
    seconds: float,
) -> BatchStudy:
    """Tune a served model in a process of its own.

    Raises:
        InputError: too little traffic was recorded, or the model cannot be run.
        UnavailableError: the registry or the process does not answer in time.
    """
    if traffic is None:
        raise InputError(f"no traffic of {model} is recorded on this machine")
    if seconds < _LEAST_S:
        raise UnavailableError("there is no time left for a study; the next cycle has more")
    own, serving = settings.performance.batch_inference, settings.serving
    cores = len(os.sched_getaffinity(0))
    orders = {
        "path": str(fetch(model, arm.version)),
        "traffic": str(traffic),
        "model": model,
        "version": arm.version,
        "current": batching_of(arm, settings).model_dump(),
        "objective_ms": serving.latency_objective_ms,
        "wanted_ms": own.latency_ms,
        "bounds": [own.max_batch_size, own.max_wait_ms, own.max_threads or cores],
        "cores": cores,
        "queue_limit": int(arm.knobs.get("queue_limit", serving.queue_limit)),
        "timeout_s": serving.request_timeout_seconds,
        "seconds": min(_TOLD * seconds, _MOST_S),
        "seed": arm.version,
    }
    return _answer(_run(orders, seconds))


def _run(orders: dict[str, object], seconds: float) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.batching"],
            input=json.dumps(orders),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"tuning was not done within {seconds:.0f} s; give it more by agent.study_seconds"
        ) from error
    if done.returncode not in {0, 2}:
        end = done.stderr.strip().splitlines()[-1:] or ["without a word"]
        raise UnavailableError(f"the process that tunes ended with {done.returncode}: {end[0]}")
    return done.stdout


def _answer(text: str) -> BatchStudy:
    try:
        found = json.loads(text)
        if "error" in found:
            raise InputError(found["error"])
        return BatchStudy.model_validate({**found, "tried": len(found["tried"])})
    except (json.JSONDecodeError, ValidationError, TypeError, KeyError) as error:
        raise UnavailableError("the answer of the process that tunes makes no sense") from error
