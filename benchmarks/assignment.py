"""The split, checked on a million keys: exact to its weight, and steady.

    python -m benchmarks.assignment --json

For each weight a chi-square test compares the challenger's count with the weight (wanted:
p > 0.001), and the cells of user numbers by variant with independence. Then the weight is ramped
up, and every key that moves has to move from control to challenger. At last the same keys are
assigned in freshly started processes with other hash seeds, as after a restart, in another worker
or on another replica: nobody may move.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from registry.splitter import point, salt_prefix

WEIGHTS = (0.01, 0.05, 0.10, 0.25, 0.50)
WANTED_P = 0.001
_CELLS = 20


@dataclass(frozen=True, slots=True)
class WeightCheck:
    """The challenger's share at one weight, and how likely a fair split strays as far."""

    weight: float
    share: float
    p_value: float
    p_value_cells: float


@dataclass(frozen=True, slots=True)
class AssignmentReport:
    """What was found; `held` says whether all of it is as wanted."""

    assignments: int
    salt: str
    weights: tuple[WeightCheck, ...]
    moved_to_challenger: int
    moved_back: int
    moved_by_restart: int
    processes: int
    held: bool


def points(salt: str, count: int) -> NDArray[np.float64]:
    """Return where the keys `user-0` … fall under a salt."""
    prefix = salt_prefix(salt)
    found = (point(prefix, b"user-%d" % number) for number in range(count))
    return np.fromiter(found, dtype=np.float64, count=count)


def check_weight(at: NDArray[np.float64], weight: float) -> WeightCheck:
    """Test the share at one weight (Pearson's chi-square), overall and by blocks of keys."""
    chosen = at < weight
    count, hits = len(at), int(chosen.sum())
    overall = stats.chisquare([hits, count - hits], [count * weight, count * (1 - weight)])
    blocks = np.array([block.sum() for block in np.array_split(chosen, _CELLS)])
    sizes = np.array([len(block) for block in np.array_split(chosen, _CELLS)])
    table = np.stack([blocks, sizes - blocks])
    cells = stats.chi2_contingency(table)
    return WeightCheck(weight, hits / count, float(overall.pvalue), float(cells.pvalue))


def ramp_moves(at: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many keys the ramp over `WEIGHTS` moves to the challenger, and how many back."""
    forward = back = 0
    before = at < 0.0
    for weight in WEIGHTS:
        after = at < weight
        forward += int((after & ~before).sum())
        back += int((before & ~after).sum())
        before = after
    return forward, back


def fingerprint(at: NDArray[np.float64]) -> str:
    """Return a digest of all assignments at all weights."""
    digest = hashlib.sha256()
    for weight in WEIGHTS:
        digest.update(np.packbits(at < weight).tobytes())
    return digest.hexdigest()


def fresh_fingerprint(salt: str, count: int, hash_seed: int) -> str:
    """Return the digest as a newly started process finds it."""
    command = [sys.executable, "-m", "benchmarks.assignment", "--fingerprint"]
    options = ["--salt", salt, "--count", str(count)]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [*command, *options], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def run(salt: str, count: int, processes: int) -> AssignmentReport:
    """Make all checks."""
    at = points(salt, count)
    checks = tuple(check_weight(at, weight) for weight in WEIGHTS)
    forward, back = ramp_moves(at)
    mine = fingerprint(at)
    moved = sum(fresh_fingerprint(salt, count, seed) != mine for seed in range(processes))
    fair = all(min(check.p_value, check.p_value_cells) > WANTED_P for check in checks)
    return AssignmentReport(
        assignments=count,
        salt=salt,
        weights=checks,
        moved_to_challenger=forward,
        moved_back=back,
        moved_by_restart=moved,
        processes=processes,
        held=fair and back == 0 and moved == 0,
    )


def _print_table(report: AssignmentReport) -> None:
    print(f"{report.assignments} assignments, salt {report.salt!r}")
    for check in report.weights:
        print(
            f"  weight {check.weight:.2f}: share {check.share:.5f}, chi-square "
            f"p = {check.p_value:.3f}, by block p = {check.p_value_cells:.3f}"
        )
    print(
        f"  ramp 1 % to 50 %: {report.moved_to_challenger} to the challenger, "
        f"{report.moved_back} back"
    )
    print(f"  {report.processes} fresh processes: {report.moved_by_restart} differ")
    print("as wanted" if report.held else "NOT as wanted")


def main() -> int:
    """Run the command; 0 when all is as wanted."""
    parser = argparse.ArgumentParser(description="check the traffic split on many keys")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--salt", default="exp-digits-2")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fingerprint", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fingerprint:
        print(fingerprint(points(options.salt, options.count)))
        return 0
    report = run(options.salt, options.count, options.processes)
    if options.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        _print_table(report)
    return 0 if report.held else 1


if __name__ == "__main__":
    sys.exit(main())
