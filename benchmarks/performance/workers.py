"""The number of workers that the queueing model chooses, beside the best by trying them all.

Simulated: many workloads against more workers than this machine has cores for, with service times
as they were measured on the real predictor. The model sees what the agent sees (rate, mean service
time, bursts) of the first half of a recording; the numbers are tried on the second. Real: the
predictor itself under open-loop load, with each number of workers in turn.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmarks.arrivals import FloatArray
from benchmarks.batching.traffic import Recording, bursty, poisson
from benchmarks.http_target import HttpTarget, row_bodies
from benchmarks.performance.crowd import Users, send_crowd
from benchmarks.performance.parts import Figure, Part
from benchmarks.performance.stage import Stage, open_stage
from benchmarks.serving_models import FEATURES, write_model, write_slow_model
from benchmarks.workers import ALIKE, MIXED, SLOW_SHARE, Bursts, Load, Objective, choose
from benchmarks.workers_traffic import bursts_of, simulated
from registry.workers import read_note

_TARGET = 0.7
_MOST = 24
_LIGHT, _DEEP = "light", "deep"
_DEEP_MS = 2.0
# As the agent's study assumes them.
_VARIABILITY = {"light": ALIKE, "deep": ALIKE, "mixed": MIXED}
_CORES = (0.5, 1.6, 4.0)
_ASSIGNMENTS = 5
_REAL_OBJECTIVE_S = 0.1
_SETTLE_S = 60.0
_MIXED_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Tried:
    """A workload: what was chosen for it, by which rule, and the best there is."""

    name: str
    chosen: int
    by: str
    best: int
    busy_rule: int

    @property
    def distance(self) -> int:
        """Workers too many (or too few, below 0)."""
        return self.chosen - self.best


@dataclass(frozen=True, slots=True)
class Point:
    """The real predictor with so many workers: the 99th percentile, and how busy a worker was."""

    workers: int
    p99_ms: float
    busy: float
    failed: int

    @property
    def fits(self) -> bool:
        """Whether it meets the objective."""
        quick = self.p99_ms <= _REAL_OBJECTIVE_S * 1e3
        return quick and self.failed == 0 and self.busy <= _TARGET


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    with tempfile.TemporaryDirectory() as name:
        files = {_LIGHT: Path(name) / "light.onnx", _DEEP: Path(name) / "deep.onnx"}
        write_model(files[_LIGHT], 1, seed)
        write_slow_model(files[_DEEP], _DEEP_MS, seed)
        with open_stage(files, {"SERVING__DRAIN_SECONDS": 1.0, "SERVING__WORKERS": 1}) as stage:
            service = _services(stage, 200 if quick else 1500)
            real, rows = _real(stage, quick, seed)
    tried = [
        one_workload(name, service, cores, kind, seed, 8_000 if quick else 60_000)
        for name in _VARIABILITY
        for cores in _CORES
        for kind in ("independent", "bursty")
    ]
    return _part(tried, real, rows, service)


# -- simulated ----------------------------------------------------------------------------------


def one_workload(
    name: str,
    service: dict[str, FloatArray],
    cores: float,
    kind: str,
    seed: int,
    requests: int,
) -> Tried:
    """Choose for one workload as the agent does, and try every number."""
    rng = np.random.default_rng(seed)
    sample = _sample(name, service, rng)
    mean_s = float(sample.mean())
    draw = bursty if kind == "bursty" else poisson
    recording: Recording = draw(2 * requests, rng, rate=cores / mean_s)
    # The rate is that of the whole recording, so that both halves are of one kind.
    at = recording.at * (recording.rate * mean_s / cores)
    seen, tested = at[:requests], at[requests:] - at[requests]
    slow_s = float(np.quantile(sample, 1.0 - SLOW_SHARE))
    wanted = Objective(_TARGET, max(8.0 * mean_s, 2.5 * slow_s))
    rate = requests / float(seen[-1] - seen[0])
    load = Load(rate, mean_s, _VARIABILITY[name], bursts_of(seen, mean_s))
    found = choose(load, wanted, 1, _MOST)
    best = _best(tested, rng.choice(sample, tested.size), wanted, seed)
    busy_rule = min(_MOST, math.ceil(load.cores / _TARGET))
    label = f"{name}, {cores:g} cores, {kind}"
    return Tried(label, found.workers, found.by, best, busy_rule)


def _sample(name: str, service: dict[str, FloatArray], rng: np.random.Generator) -> FloatArray:
    if name != "mixed":
        return service[name]
    size = min(one.size for one in service.values())
    slow = rng.random(size) < _MIXED_SHARE
    return np.where(slow, rng.choice(service[_DEEP], size), rng.choice(service[_LIGHT], size))


def _best(arrivals: FloatArray, service: FloatArray, wanted: Objective, seed: int) -> int:
    """The smallest number that meets the objective, by trying each."""
    busy = float(service.sum()) / float(arrivals[-1])
    for workers in range(1, _MOST + 1):
        if busy / workers > wanted.utilisation:
            continue
        # Which worker a connection comes to is chance: the median of several.
        slow = [
            float(np.quantile(simulated(arrivals, service, workers, rng), 1.0 - SLOW_SHARE))
            for rng in map(np.random.default_rng, range(seed, seed + _ASSIGNMENTS))
        ]
        if median(slow) <= wanted.latency_s:
            return workers
    return _MOST


def _services(stage: Stage, requests: int) -> dict[str, FloatArray]:
    """Service times of the real predictor: how long one request alone takes, by model."""
    return {name: asyncio.run(_alone(stage.url_of(name), requests)) for name in (_LIGHT, _DEEP)}


async def _alone(url: str, requests: int) -> FloatArray:
    bodies = row_bodies(np.zeros((1, FEATURES)).tolist())
    times = np.empty(requests)
    async with HttpTarget(url, lambda _: bodies[0]) as target:
        for index in range(-requests // 10, requests):
            began = time.perf_counter()
            await target(index)
            if index >= 0:
                times[index] = time.perf_counter() - began
    # The slowest hundredth is this machine's other work, not the predictor's.
    clipped: FloatArray = np.minimum(times, np.quantile(times, 0.99))
    return clipped


# -- real ---------------------------------------------------------------------------------------


def _real(stage: Stage, quick: bool, seed: int) -> tuple[list[Tried], list[dict[str, object]]]:
    """The predictor itself: each rate with each number of workers."""
    seconds = 2.0 if quick else 8.0
    shares = (0.3, 0.9) if quick else (0.3, 0.6, 0.9, 1.2)
    most = 2 if quick else 3
    _bring(stage, 1)
    cost_s = _cost(stage, seconds, seed)
    tried, rows = [], []
    for share in shares:
        rate = share / cost_s
        points = [_point(stage, number, rate, seconds, seed) for number in range(1, most + 1)]
        load = Load(rate, cost_s, _VARIABILITY[_DEEP], Bursts())
        found = choose(load, Objective(_TARGET, _REAL_OBJECTIVE_S), 1, most)
        best = next((one.workers for one in points if one.fits), most)
        name = f"real, {share:g} cores"
        tried.append(Tried(name, found.workers, found.by, best, found.workers))
        rows += [_row(name, one) for one in points]
    return tried, rows


def _row(name: str, point: Point) -> dict[str, object]:
    return {
        "workload": name,
        "workers": point.workers,
        "p99_ms": round(point.p99_ms, 1),
        "busy": round(point.busy, 2),
        "failed": point.failed,
        "fits": point.fits,
    }


def _cost(stage: Stage, seconds: float, seed: int) -> float:
    """Processor seconds of one request, at a calm rate, as the agent measures them."""
    rate = 100.0
    point = _point(stage, 1, rate, seconds, seed)
    return point.busy / rate


def _bring(stage: Stage, number: int) -> None:
    """Turn the knob, and wait until so many workers run."""
    stage.turn("serving", {"workers": number})
    by = time.monotonic() + _SETTLE_S
    while True:
        note = read_note(stage.predictor.home / "run")
        if note is not None and len(note.running) == number and not note.draining:
            return
        if time.monotonic() > by:
            raise RuntimeError(f"the predictor did not come to {number} workers: {note}")
        time.sleep(0.1)


def _point(stage: Stage, number: int, rate: float, seconds: float, seed: int) -> Point:
    _bring(stage, number)
    crowd = send_crowd(
        {_DEEP: Users(stage.url_of(_DEEP), rate, FEATURES)},
        2.0 * seconds,
        slice_s=seconds,
        seed=seed,
    )
    crowd.await_begin()
    # The first slice makes connections and warms up.
    time.sleep(seconds)
    used, began = sum(_used(stage)), time.perf_counter()
    time.sleep(seconds)
    busy = (sum(_used(stage)) - used) / (time.perf_counter() - began) / number
    second = crowd.result()[_DEEP][1]
    return Point(number, second.p99_ms, busy, second.failed)


def _used(stage: Stage) -> Iterator[float]:
    note = read_note(stage.predictor.home / "run")
    for pid in note.running if note is not None else ():
        times = psutil.Process(pid).cpu_times()
        yield times.user + times.system


# -- report -------------------------------------------------------------------------------------


def _part(
    tried: Sequence[Tried],
    real: Sequence[Tried],
    rows: Sequence[dict[str, object]],
    service: dict[str, FloatArray],
) -> Part:
    within = [abs(one.distance) <= 1 for one in tried]
    exact = [one.distance == 0 for one in tried]
    rule = [abs(one.busy_rule - one.best) <= 1 for one in tried]
    means = ", ".join(f"{name} {values.mean() * 1e3:.2f} ms" for name, values in service.items())
    return Part(
        name="workers",
        title="the number of workers, beside the best by trying them all",
        real=(
            "service times and the points named real are the predictor's own, under open-loop "
            f"load ({means}); the other workloads are simulated, worker by worker, with these "
            "service times, for this machine has too few cores"
        ),
        figures=(
            Figure(
                "simulated workloads within one of the best",
                float(sum(within)),
                at_least=12,
                note=(
                    f"of {len(tried)}; objective: 99 % within 8 mean services or more, at most "
                    "70 % busy"
                ),
            ),
            Figure("as a share", sum(within) / len(tried), at_least=0.9),
            Figure("exact", sum(exact) / len(tried)),
            Figure(
                "the rule that looks at utilisation alone: within one",
                sum(rule) / len(tried),
                note="as ⌈busy cores / target⌉ has it, the rule of common autoscalers",
            ),
            Figure(
                "real: furthest from the best",
                float(max(abs(one.distance) for one in real)),
                "workers",
                at_most=1,
            ),
        ),
        rows=(*[_tried_row(one) for one in (*tried, *real)], *rows),
    )


def _tried_row(one: Tried) -> dict[str, object]:
    return {
        "workload": one.name,
        "chosen": one.chosen,
        "by": one.by,
        "best": one.best,
        "utilisation_rule": one.busy_rule,
    }
