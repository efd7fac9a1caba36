"""Random schedules on the real ledger: no limit, conflict or approval is ever broken.

`python -m tests.perf.schedules --json`; 100,000 schedules by default, over all cores. The exit code
is 1 when anything was broken.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path

from registry.ledger.database import open_ledger
from tests.perf.random_schedules import RandomWorld, Tally

# A ledger is left behind after this many schedules, so that its size does not set the pace.
_PER_LEDGER = 250


def play(seed: int, count: int) -> Tally:
    """Play `count` schedules of one seed on a ledger of its own."""
    with tempfile.TemporaryDirectory(prefix="schedules-") as folder:
        engine = open_ledger(f"sqlite:///{Path(folder) / 'ledger.db'}")
        try:
            world = RandomWorld(engine, seed)
            for _ in range(count):
                world.play()
        finally:
            engine.dispose()
    return world.tally


def total(tallies: list[Tally]) -> Tally:
    """Add up what several runs came to."""
    found = Tally()
    for one in tallies:
        found.schedules += one.schedules
        found.steps += one.steps
        found.planned += one.planned
        found.started += one.started
        found.refused += one.refused
        found.approved += one.approved
        found.started_with_approval += one.started_with_approval
        found.most_running = max(found.most_running, one.most_running)
        found.violations += one.violations
        found.left_out += one.left_out
    return found


def main(arguments: list[str] | None = None) -> int:
    """Play the schedules, print what they came to, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin none after this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    found = total(_played(options, begun))
    answer = {
        **vars(found),
        "left_out": dict(found.left_out),
        "refused": dict(found.refused),
        "violations": len(found.violations),
        "first_violations": found.violations[:10],
        "seconds": round(time.monotonic() - begun, 1),
        "seed": options.seed,
    }
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in answer.items()))
    return 1 if found.violations else 0


def _played(options: argparse.Namespace, begun: float) -> list[Tally]:
    """Play batch after batch, until all are played or the time is over."""
    whole, rest = divmod(options.schedules, _PER_LEDGER)
    counts = [_PER_LEDGER] * whole + ([rest] if rest else [])
    batches = iter(enumerate(counts, start=options.seed * 1_000_000))
    tallies: list[Tally] = []
    with ProcessPoolExecutor(options.processes) as pool:
        running = {pool.submit(play, *one) for one in islice(batches, options.processes)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            tallies += [one.result() for one in done]
            if time.monotonic() - begun < options.seconds:
                running |= {pool.submit(play, *one) for one in islice(batches, len(done))}
    return tallies


if __name__ == "__main__":
    sys.exit(main())
