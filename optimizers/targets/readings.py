"""Collects the numbers of one look at a target and keeps the impossible ones out.

A target may lie: NaN, infinity, a share of 3, a million series. Such a number is left out and told
as a trouble, so that nothing is ever decided on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from optimizers.targets.base import Observed
from registry.agent_records import Observation

MAX_OBSERVATIONS = 2000
_MAX_TROUBLES = 20
_MAX_LABEL = 200


class Readings:
    """The numbers of one look at one target.

    Args:
        target: the target's name.
        at: when it was looked at, seconds since the epoch.
    """

    def __init__(self, target: str, at: float) -> None:
        self._target = target
        self._at = at
        self._found: dict[tuple[str, tuple[tuple[str, str], ...]], Observation] = {}
        self._troubles: list[str] = []
        self._left_out = 0

    def add(
        self,
        metric: str,
        value: float | None,
        unit: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        low: float = 0.0,
        high: float = math.inf,
    ) -> None:
        """Take a number; None is missing, and what lies outside of `low` to `high` is a trouble."""
        if value is None:
            return
        if not (math.isfinite(value) and low <= value <= high):
            self.trouble(f"{metric} is {value:g}, which cannot be; it is left out")
            return
        found = tuple(sorted((name, held[:_MAX_LABEL]) for name, held in (labels or {}).items()))
        key = metric, found
        if key not in self._found and len(self._found) >= MAX_OBSERVATIONS:
            self._left_out += 1
            return
        self._found[key] = Observation(self._target, metric, float(value), self._at, unit, found)

    def trouble(self, sentence: str) -> None:
        """Note what did not work although the target answered; the first twenty are kept."""
        if len(self._troubles) < _MAX_TROUBLES and sentence not in self._troubles:
            self._troubles.append(sentence)

    def observed(self, facts: object = None) -> Observed:
        """Everything taken; of one metric, the number of the whole target comes last."""
        if self._left_out:
            self.trouble(
                f"{self._left_out} of its series are left out; {MAX_OBSERVATIONS} are taken at most"
            )
        ordered = sorted(self._found.values(), key=lambda one: not one.labels)
        return Observed(ordered, facts, tuple(self._troubles))
