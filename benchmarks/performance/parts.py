"""What one part of the performance benchmark reports: figures, each with what was wanted of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        name: what it is, with what it is compared.
        value: the number, or None when it could not be measured; then `note` says why.
        low, high: its quartiles or interval, as `note` says.
        at_least, at_most: what is wanted; None where nothing is.
    """

    name: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def held(self) -> bool | None:
        """Whether it is as wanted; None where nothing is wanted of it."""
        if self.at_least is None and self.at_most is None:
            return None
        if self.value is None or not math.isfinite(self.value):
            return False
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def to_dict(self) -> dict[str, object]:
        """All of it, fit for JSON."""
        return asdict(self) | {"held": self.held}


@dataclass(frozen=True, slots=True)
class Part:
    """The figures of one part.

    Attributes:
        title: what was measured.
        real: what ran for real, and what was modelled, in a sentence.
        rows: tables for the reader, each row a mapping of column to value.
        skipped: why nothing was measured; empty when it was.
    """

    name: str
    title: str
    real: str
    figures: Sequence[Figure] = ()
    rows: Sequence[dict[str, object]] = field(default=())
    skipped: str = ""

    @property
    def held(self) -> bool:
        """Whether every figure of which something is wanted is as wanted."""
        return not self.skipped and all(one.held is not False for one in self.figures)

    def to_dict(self) -> dict[str, object]:
        """All of it, fit for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "real": self.real,
            "held": self.held,
            "skipped": self.skipped,
            "figures": [one.to_dict() for one in self.figures],
            "rows": list(self.rows),
        }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    low, median, high = np.percentile(np.asarray(values, dtype=np.float64), (25, 50, 75))
    return float(median), float(low), float(high)
