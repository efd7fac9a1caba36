"""`python -m benchmarks.performance`: every part, or those of `--only`; exit 1 if one did not hold.

`--quick` shows in minutes that all of it works; its figures are not judged.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from benchmarks.performance.parts import Figure, Part

PARTS = {
    "batching": "benchmarks.performance.batching",
    "batching_live": "benchmarks.performance.batching_live",
    "saturated": "benchmarks.performance.saturated",
    "cache": "benchmarks.performance.cache",
    "tcp": "benchmarks.performance.tcp",
    "memory": "benchmarks.performance.memory",
    "workers": "benchmarks.performance.workers",
    "scaling": "benchmarks.performance.scaling",
    "bad_day": "benchmarks.performance.bad_day",
}

Measure = Callable[[bool, int], Part]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance")
    parser.add_argument("--only", help=f"parts, with commas between: {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="short runs, not judged")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    # Servers are processes of their own: whoever ends this one has to end them, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        measure: Measure = import_module(PARTS[name]).measure
        parts.append(measure(options.quick, options.seed))
    if options.json:
        print(json.dumps([one.to_dict() for one in parts], indent=2))
    else:
        _show(parts)
    return 0 if options.quick or all(one.held for one in parts) else 1


def _show(parts: Sequence[Part]) -> None:
    for part in parts:
        print(f"\n{part.name}: {part.title}\n  {part.skipped or part.real}")
        for one in part.figures:
            print(_line(one))
        for row in part.rows:
            print("    " + "  ".join(f"{name} {value}" for name, value in row.items()))


def _line(figure: Figure) -> str:
    value = "not measured" if figure.value is None else f"{figure.value:.4g} {figure.unit}".strip()
    spread = "" if figure.low is None else f" ({figure.low:.4g} – {figure.high:.4g})"
    wanted = "" if figure.at_least is None else f" ≥ {figure.at_least:g}"
    wanted += "" if figure.at_most is None else f" ≤ {figure.at_most:g}"
    held = {True: ", held", False: ", NOT HELD", None: ""}[figure.held]
    judged = f"; wanted{wanted}{held}" if wanted else ""
    return f"  {figure.name}: {value}{spread}{judged}" + (f"; {figure.note}" * bool(figure.note))


if __name__ == "__main__":
    sys.exit(main())
