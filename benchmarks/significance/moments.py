"""What a sample leaves behind when only count, sum and sum of squares are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum and sum of squares of one arm's values, in the metric's own unit."""

    count: int
    total: float
    total_sq: float

    @property
    def mean(self) -> float:
        """The average; NaN without values."""
        return self.total / self.count if self.count else math.nan

    @property
    def variance(self) -> float:
        """Unbiased variance (n - 1 below the line); NaN with fewer than two values.

        Rounding can leave a tiny negative number where all values are alike; that is zero.
        """
        if self.count < 2:
            return math.nan
        return max(0.0, self.total_sq - self.total * self.mean) / (self.count - 1)

    @property
    def binary(self) -> bool:
        """True when every value can only have been 0 or 1, so that the sum is a count."""
        whole = self.total == int(self.total) if math.isfinite(self.total) else False
        return whole and self.total == self.total_sq and 0 <= self.total <= self.count

    @property
    def flaw(self) -> str | None:
        """Why these numbers cannot come from real values, or None when they can."""
        if self.count < 0:
            return "a negative count"
        if not (math.isfinite(self.total) and math.isfinite(self.total_sq)):
            return "a sum that is not a number"
        rounding = 1e-9 * max(1.0, self.total * self.total)
        if self.total * self.total > self.count * self.total_sq + rounding:
            return "a sum of squares too small for its sum"
        return None
