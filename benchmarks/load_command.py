"""``python -m benchmarks.load``: put open-loop load on an HTTP address and report what it did."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks import arrivals as arriving
from benchmarks.arrivals import ArrivalKind, FloatArray
from benchmarks.gate_command import read_evaluation
from benchmarks.http_target import HttpTarget, row_bodies
from benchmarks.load import Limits, LoadResult, open_loop, precise_loop
from config.errors import InputError, PrimeSparkError

MAX_BODY_BYTES = 64 * 1024 * 1024


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run the load, print the result.

    Returns 0 if every request was answered, 1 if any failed, 64 for input that cannot be used.
    """
    options = _parser().parse_args(arguments)
    try:
        arrivals = _arrivals(options)
        bodies = _bodies(options)
    except PrimeSparkError as error:
        print(error, file=sys.stderr)
        return 64
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        result = runner.run(_run(options, arrivals, bodies))
    print(json.dumps(result.to_dict(), indent=2) if options.json else _text(result))
    return 1 if result.errors else 0


async def _run(
    options: argparse.Namespace, arrivals: FloatArray, bodies: list[bytes]
) -> LoadResult:
    def body(index: int) -> bytes:
        return bodies[index % len(bodies)]

    async with HttpTarget(options.url, body, timeout_s=options.timeout) as target:
        return await open_loop(target, arrivals, limits=Limits(options.in_flight, options.timeout))


def _arrivals(options: argparse.Namespace) -> FloatArray:
    if options.timestamps:
        return arriving.from_file(options.timestamps)
    if options.arrivals == ArrivalKind.CONSTANT:
        return arriving.constant(options.rate, options.seconds)
    return arriving.poisson(options.rate, options.seconds, np.random.default_rng(options.seed))


def _bodies(options: argparse.Namespace) -> list[bytes]:
    if options.inputs:
        return row_bodies(read_evaluation(options.inputs).inputs.tolist())
    path: Path = options.body
    try:
        if path.stat().st_size > MAX_BODY_BYTES:
            raise InputError(f"{path} is larger than {MAX_BODY_BYTES} bytes")
        content = path.read_bytes()
        json.loads(content)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})") from error
    return [content]


def _text(result: LoadResult) -> str:
    lines = [
        f"offered   {result.offered} requests at {result.offered_rate:,.1f}/s",
        f"answered  {result.answered} at {result.achieved_rate:,.1f}/s",
        f"errors    {_counts(result.errors)}",
    ]
    lines += [f"{reading.name:<13}{reading}" for reading in result.latency()]
    lag = result.lag.percentile(99)
    lines.append(f"client lag p99 {'unknown' if lag is None else f'{lag:.2f} ms'}")
    if result.client_limited:
        lines.append("this client could not keep its times: the latencies are partly its own")
    return "\n".join(lines)


def _counts(errors: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in errors.items()) or "none"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description="Open-loop load on an HTTP address; latency counts from the intended start.",
    )
    parser.add_argument("--url", required=True, help="for example http://127.0.0.1:3000/predict/m")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--inputs", type=Path, help=".npz with inputs and labels: a row a request")
    source.add_argument("--body", type=Path, help="file with one JSON body for every request")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the run")
    parser.add_argument(
        "--arrivals",
        choices=[kind.value for kind in ArrivalKind],
        default=ArrivalKind.POISSON.value,
        help="spacing of the requests",
    )
    parser.add_argument("--timestamps", type=Path, help="replay the times in this file instead")
    parser.add_argument("--in-flight", type=int, default=1000, help="most requests under way")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for an answer")
    parser.add_argument("--seed", type=int, default=0, help="seed of the arrivals")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    return parser
