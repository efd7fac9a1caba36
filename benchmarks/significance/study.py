"""What the simulation study reports: figures, each beside what is wanted of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SPLITS = (0.5, 0.1, 0.05)
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
METRIC_ALPHA = 0.05
GUARDRAIL_ALPHA = 0.02
SAMPLE_RATIO_ALPHA = 0.001
METRIC_LOOKS = 14
METRIC_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the study is.

    `runs` simulated trials a figure. In a quick study wanted power and size are passed within
    three standard errors, in a full one exactly.
    """

    runs: int
    quick: bool

    def rng(self, seed: int, *cell: int) -> np.random.Generator:
        """A generator of its own for each figure, so that none depends on another's draws."""
        return np.random.default_rng([seed, *cell])


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `wanted` and `passed` are None where it only stands beside others."""

    group: str
    name: str
    value: float
    wanted: str | None = None
    passed: bool | None = None


def error_rate(group: str, name: str, rate: float, nominal: float, runs: int) -> Figure:
    """A rate of false alarms: at most the nominal level plus three standard errors."""
    limit = nominal + 3 * math.sqrt(nominal * (1 - nominal) / runs)
    return Figure(group, name, rate, f"<= {limit:.4f}", rate <= limit)


def at_least(group: str, name: str, rate: float, wanted: float, scale: Scale) -> Figure:
    """A rate of true alarms that has to be reached."""
    slack = 3 * math.sqrt(wanted * (1 - wanted) / scale.runs) if scale.quick else 0.0
    return Figure(group, name, rate, f">= {wanted:.3f}", rate >= wanted - slack)


def at_most(group: str, name: str, sizes: np.ndarray, wanted: float, scale: Scale) -> Figure:
    """A mean size that must not be passed."""
    slack = 3 * float(sizes.std()) / math.sqrt(sizes.size) if scale.quick else 0.0
    mean = float(sizes.mean())
    return Figure(group, name, mean, f"<= {wanted:.3f}", mean <= wanted + slack)


def all_passed(figures: Iterable[Figure]) -> bool:
    """True when nothing wanted was missed."""
    return all(figure.passed is not False for figure in figures)


def split_name(share: float) -> str:
    """A split as people say it: 90/10."""
    return f"{(1 - share) * 100:.0f}/{share * 100:.0f}"
