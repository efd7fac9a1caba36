"""A crowd of users: open-loop load on several models at once, reported by slices of time.

A process of its own, so that what it computes takes nothing from what is measured. It reads its
orders as JSON from standard input and writes what happened to standard output when it ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrivals import FloatArray, poisson
from benchmarks.http_target import HttpTarget, row_bodies
from benchmarks.load import Limits, open_loop, precise_loop
from config.clock import SystemClock, epoch

_MOST_BODIES = 20_000
# Starting an interpreter and drawing the inputs takes this long on a busy machine.
_GET_READY_S = 4.0


def now() -> float:
    """Seconds since the epoch: what two processes can agree on."""
    return epoch(SystemClock().now())


@dataclass(frozen=True, slots=True)
class Users:
    """The users of one model.

    Attributes:
        rate: requests per second, with Poisson arrivals.
        features: numbers of one input.
        distinct: how many different inputs there are; 0 makes each its own.
        zipf: exponent of their popularity (Zipf); 0 asks for all alike.
    """

    url: str
    rate: float
    features: int
    distinct: int = 0
    zipf: float = 0.0


@dataclass(frozen=True, slots=True)
class Slice:
    """What became of the requests that were due within one slice; times in ms."""

    at: float
    offered: int
    answered: int
    failed: int
    mean_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class Crowd:
    """A crowd on its way; its first request is due at `begins_at`, epoch seconds."""

    process: subprocess.Popen[str]
    begins_at: float

    def await_begin(self) -> None:
        """Return when its load begins."""
        time.sleep(max(0.0, self.begins_at - now()))

    def result(self) -> dict[str, list[Slice]]:
        """Wait for its end; return the slices by model.

        Raises:
            RuntimeError: the crowd itself failed.
        """
        out, err = self.process.communicate()
        if self.process.returncode != 0:
            raise RuntimeError(f"the crowd failed: {err[-1000:]}")
        found = json.loads(out)
        return {model: [Slice(**one) for one in slices] for model, slices in found.items()}

    def stop(self) -> None:
        """End it at once; what happened is lost."""
        self.process.kill()
        self.process.communicate()


def mean_ms(slices: Sequence[Slice]) -> float:
    """The mean of the slices' mean latencies, each counted alike."""
    return fmean(one.mean_ms for one in slices)


def send_crowd(users: Mapping[str, Users], seconds: float, *, slice_s: float, seed: int) -> Crowd:
    """Start a crowd that lasts `seconds`, from a moment when it is ready."""
    begins_at = now() + _GET_READY_S
    orders = {
        "begins_at": begins_at,
        "users": {model: asdict(one) for model, one in users.items()},
        "seconds": seconds,
        "slice_s": slice_s,
        "seed": seed,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.performance.crowd"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(orders))
    process.stdin.close()
    process.stdin = None
    return Crowd(process, begins_at)


async def _run(orders: Mapping[str, object]) -> dict[str, list[Slice]]:
    users, seconds = orders["users"], float(str(orders["seconds"]))
    assert isinstance(users, dict)
    rng = np.random.default_rng(int(str(orders["seed"])))
    slice_s = float(str(orders["slice_s"]))
    begins_at = float(str(orders["begins_at"]))
    span = (begins_at, seconds, slice_s)
    parts = [_of_model(Users(**one), span, rng) for one in users.values()]
    return dict(zip(users, await asyncio.gather(*parts), strict=True))


async def _of_model(
    users: Users, span: tuple[float, float, float], rng: np.random.Generator
) -> list[Slice]:
    begins_at, seconds, slice_s = span
    arrivals = poisson(users.rate, seconds, rng)
    bodies, order = _inputs(users, arrivals.size, rng)
    latencies: FloatArray = np.full(arrivals.size, np.nan)
    await asyncio.sleep(max(0.0, begins_at - now()))
    began, loop_time = now(), asyncio.get_running_loop().time
    start = loop_time()
    async with HttpTarget(users.url, lambda index: bodies[order[index]]) as target:

        async def send(index: int) -> None:
            await target(index)
            latencies[index] = (loop_time() - start - arrivals[index]) * 1e3

        await open_loop(send, arrivals, limits=Limits(in_flight=900))
    return _slices(arrivals, latencies, began, slice_s)


def _inputs(
    users: Users, count: int, rng: np.random.Generator
) -> tuple[list[bytes], NDArray[np.int64]]:
    """Bodies, and which of them each request sends."""
    kinds = users.distinct or min(count, _MOST_BODIES)
    rows = np.round(rng.normal(size=(kinds, users.features)), 4).tolist()
    if not users.distinct:
        return row_bodies(rows), np.arange(count) % kinds
    weights = 1.0 / np.arange(1, kinds + 1) ** users.zipf
    order = rng.choice(kinds, size=count, p=weights / weights.sum())
    return row_bodies(rows), order.astype(np.int64)


def _slices(
    arrivals: FloatArray, latencies: FloatArray, began: float, slice_s: float
) -> list[Slice]:
    numbers = (arrivals // slice_s).astype(int)
    return [
        _slice(latencies[numbers == number], began + number * slice_s)
        for number in range(int(numbers.max()) + 1)
        if (numbers == number).any()
    ]


def _slice(latencies: FloatArray, at: float) -> Slice:
    answered: Sequence[float] = latencies[~np.isnan(latencies)].tolist()
    missing = latencies.size - len(answered)
    if not answered:
        return Slice(at, latencies.size, 0, missing, float("nan"), float("nan"), float("nan"))
    p50, p99 = np.percentile(answered, (50, 99))
    mean = float(np.mean(answered))
    return Slice(at, latencies.size, len(answered), missing, mean, float(p50), float(p99))


def main() -> int:
    """Read the orders, do them, report."""
    orders = json.loads(sys.stdin.read())
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        found = runner.run(_run(orders))
    print(json.dumps({model: [asdict(one) for one in slices] for model, slices in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
