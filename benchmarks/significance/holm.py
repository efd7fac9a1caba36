"""Several hypotheses at one error level."""

from __future__ import annotations

import math
from collections.abc import Mapping


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: reject those at or below alpha, with family-wise error at most alpha.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979) 65–70. Holds under any dependence (exact if the p-values are). Order of
    the names is kept.

    Raises:
        ValueError: a p-value is not a number from 0 to 1.
    """
    for name, p in p_values.items():
        if math.isnan(p) or not 0 <= p <= 1:
            raise ValueError(f"p-value of '{name}' is {p}; it must lie between 0 and 1")
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
