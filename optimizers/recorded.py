"""Recorded observations as they stood at a moment of the past. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence

from registry.agent_records import Observation

Series = tuple[str, str]


class Recording:
    """Observations by target and metric, oldest first, that can be looked at as of any time."""

    def __init__(self, history: Mapping[Series, Sequence[Observation]]) -> None:
        self._history = {name: sorted(seen, key=_at) for name, seen in history.items() if seen}

    def window(self, at: float, seconds: float) -> Mapping[Series, Sequence[Observation]]:
        """What was seen in the `seconds` up to a time, and nothing of what came later."""
        return _Window(self._history, at - seconds, at)

    @property
    def span(self) -> tuple[float, float] | None:
        """When the first and the last observation were made; None where there is none."""
        if not self._history:
            return None
        first = min(seen[0].at for seen in self._history.values())
        return first, max(seen[-1].at for seen in self._history.values())


class _Window(Mapping[Series, Sequence[Observation]]):
    """Cuts a series only when it is asked for: a cycle looks at a few of many."""

    def __init__(
        self, history: Mapping[Series, Sequence[Observation]], since: float, until: float
    ) -> None:
        self._history = history
        self._since = since
        self._until = until

    def __getitem__(self, name: Series) -> Sequence[Observation]:
        seen = self._history[name]
        first = bisect_left(seen, self._since, key=_at)
        return seen[first : bisect_right(seen, self._until, key=_at)]

    def __iter__(self) -> Iterator[Series]:
        return iter(self._history)

    def __len__(self) -> int:
        return len(self._history)


def _at(one: Observation) -> float:
    return one.at
