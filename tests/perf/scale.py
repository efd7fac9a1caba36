"""Decisions and the ledger at scale: time and memory grow no faster than linearly.

`python -m tests.perf.scale --json` decides 1,000 to 10,000 proposals and queries ledgers of 1,000
to 1,000,000 events. The exit code is 1 when something grows faster than linearly, by the exponent
of its growth over the whole range.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from config.ids import SeededIds
from config.settings import Settings, ThresholdSettings
from optimizers.planning import plan_cycle
from optimizers.view import View
from registry.agent_records import ActionState, Learned
from tests.perf.big_ledger import BigLedger
from tests.services.agent_samples import NOON, SampleCapability, action, numbered

PROPOSALS = (1_000, 3_000, 10_000)
EVENTS = (1_000, 10_000, 100_000, 1_000_000)
# Growth is n to the power of this, at most; above 1 there is room for noise and for logarithms.
_MOST_EXPONENT = 1.2
# What takes less than this says nothing about growth.
_LEAST_SECONDS = 0.002
_REPEATS = 3

Row = dict[str, float]


def decisions(sizes: Sequence[int]) -> list[Row]:
    """Plan cycles of so many proposals, with as many past actions and learned rows."""
    rows = []
    for size in sizes:
        view, capability, settings = _cycle(size)

        def once(
            view: View = view,
            capability: SampleCapability = capability,
            settings: Settings = settings,
        ) -> int:
            result = plan_cycle(view, [capability], settings, SeededIds(1))
            return len(result.actions) + len(result.skipped)

        assert once() == size
        rows.append({"n": size, "plan_s": _seconds(once), "plan_mb": _megabytes(once)})
    return rows


def _cycle(size: int) -> tuple[View, SampleCapability, Settings]:
    past = [
        action(numbered(n), id=f"action-{n}", state=ActionState.COMPLETED, executed_at=NOON - 1e6)
        for n in range(0, size, 2)
    ]
    learned = {
        ("cache_resize", f"target-{n}"): Learned(
            "cache_resize", f"target-{n}", n % 23, n % 7, 0.1, n % 11, 0.01, NOON
        )
        for n in range(0, size, 3)
    }
    settings = Settings(thresholds=ThresholdSettings(max_concurrent_actions=100))
    capability = SampleCapability([numbered(n) for n in range(size)])
    return View(at=NOON, actions=past, learned=learned), capability, settings


def events(sizes: Sequence[int], folder: Path) -> list[Row]:
    """Query and check ledgers of so many events."""
    rows = []
    with BigLedger(folder) as ledger:
        for size in sizes:
            ledger.grow(size)
            rows.append(
                {
                    "n": size,
                    "append_s": _seconds(ledger.append),
                    "story_s": _seconds(ledger.story),
                    "newest_of_kind_s": _seconds(ledger.newest_of_kind),
                    "page_s": _seconds(ledger.page),
                    "verify_s": _seconds(ledger.verify, 1),
                    "verify_mb": _megabytes(ledger.verify),
                    "file_mb": ledger.megabytes,
                }
            )
    return rows


def growth(rows: Sequence[Row]) -> Row:
    """Return, for each figure, the exponent of its growth from the first row to the last."""
    first, last = rows[0], rows[-1]
    span = math.log(last["n"] / first["n"])
    return {
        name: math.log(max(last[name], _LEAST_SECONDS) / max(first[name], _LEAST_SECONDS)) / span
        for name in first
        if name != "n"
    }


def _seconds(call: Callable[[], object], repeats: int = _REPEATS) -> float:
    taken = []
    for _ in range(repeats):
        gc.collect()
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def _megabytes(call: Callable[[], object]) -> float:
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most-events", type=int, default=EVENTS[-1])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        found = {
            "decisions": decisions(PROPOSALS),
            "events": events([n for n in EVENTS if n <= options.most_events], Path(folder)),
        }
    exponents = {name: growth(rows) for name, rows in found.items()}
    worst = max(value for row in exponents.values() for value in row.values())
    answer = {**found, "exponents": exponents, "linear": worst <= _MOST_EXPONENT}
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        _print(found, exponents)
    return 0 if answer["linear"] else 1


def _print(found: dict[str, list[Row]], exponents: dict[str, Row]) -> None:
    for name, rows in found.items():
        print(name)
        print("  ".join(f"{column:>18}" for column in rows[0]))
        for row in rows:
            print("  ".join(f"{value:>18.5g}" for value in row.values()))
        shown = ["exponent", *(f"{value:.2f}" for value in exponents[name].values())]
        print("  ".join(f"{text:>18}" for text in shown))


if __name__ == "__main__":
    sys.exit(main())
