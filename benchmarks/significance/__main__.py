"""`python -m benchmarks.significance`: measure the error rates and power of a trial's rules."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.significance.study import Figure, Scale, all_passed
from benchmarks.significance.study_false import false_positives
from benchmarks.significance.study_power import power

_SEED = 20_240_601
_FULL = 20_000
_QUICK = 400


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print it; 1 when a wanted figure was missed, else 0."""
    options = _options(arguments)
    scale = Scale(_QUICK if options.quick else options.runs, options.quick)
    began = time.perf_counter()
    figures = [*false_positives(scale, options.seed), *power(scale, options.seed)]
    passed = all_passed(figures)
    report = {
        "seed": options.seed,
        "runs": scale.runs,
        "quick": scale.quick,
        "seconds": round(time.perf_counter() - began, 1),
        "passed": passed,
        "figures": [asdict(figure) for figure in figures],
    }
    print(json.dumps(report, indent=2) if options.json else _text(report, figures))
    return 0 if passed else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.significance", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} runs a figure, in seconds")
    parser.add_argument("--runs", type=_runs, default=_FULL, help="simulated trials a figure")
    parser.add_argument("--seed", type=int, default=_SEED, help="seed of all random numbers")
    return parser.parse_args(arguments)


def _runs(text: str) -> int:
    runs = int(text)
    if runs < 100:
        raise argparse.ArgumentTypeError("fewer than 100 runs say nothing")
    return runs


def _text(report: dict[str, object], figures: Sequence[Figure]) -> str:
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure.group, []).append(figure)
    lines = []
    for group, members in groups.items():
        lines += [group, *(_line(figure) for figure in members), ""]
    missed = sum(figure.passed is False for figure in figures)
    judged = sum(figure.passed is not None for figure in figures)
    verdict = "all as wanted" if report["passed"] else f"{missed} missed"
    lines.append(
        f"{judged} figures judged, {verdict}; {report['runs']} runs a figure, "
        f"seed {report['seed']}, {report['seconds']} s"
    )
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    mark = {None: "    ", True: "ok  ", False: "MISS"}[figure.passed]
    wanted = f"   wanted {figure.wanted}" if figure.wanted else ""
    return f"  {mark} {figure.value:10.4f}  {figure.name}{wanted}"


if __name__ == "__main__":
    sys.exit(main())
