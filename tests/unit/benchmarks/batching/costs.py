"""Run costs by formula, for tests."""

from __future__ import annotations

import random

from benchmarks.batching.run_costs import CostCurve, CostLevel, RunCosts, quantiles_of
from benchmarks.batching.settings import Session

LEVELS = (1, 2, 4, 8, 16, 32, 64, 128)


ONE_THREAD = Session()


def curve(
    fixed_s: float,
    row_s: float,
    *,
    noise: float = 0.1,
    session: Session = ONE_THREAD,
    seed: int = 7,
) -> CostCurve:
    """A fixed part, a part for each row, and noise that makes some runs longer."""
    draw = random.Random(seed)
    levels = []
    for rows in LEVELS:
        mean = fixed_s + row_s * rows
        seconds = [mean * (1.0 + noise * draw.expovariate(1.0)) for _ in range(40)]
        levels.append(CostLevel(rows, quantiles_of(seconds), mean * session.threads, 40))
    return CostCurve(session, tuple(levels))


def costs(fixed_s: float, row_s: float, **options: float) -> RunCosts:
    """Draws from such a curve."""
    return RunCosts(curve(fixed_s, row_s, **options))  # type: ignore[arg-type]
