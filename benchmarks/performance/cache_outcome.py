"""What resizing a cache came to, by what the agent foretold and what was measured afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.performance.parts import Figure, quartiles

TARGET = 0.90
MOST_ERROR = 0.005


@dataclass(frozen=True, slots=True)
class Outcome:
    """One cache that was resized.

    Attributes:
        before, realised: measured hit rates, apart from the agent's own samples.
        predicted: what the agent foretold; None where it proposed nothing.
        state: what became of its action.
        sizes: before, by the agent, and by doubling; entries or MB.
        rival_changes: how often doubling had to resize.
    """

    cache: str
    before: float
    predicted: float | None
    realised: float
    state: str
    sizes: tuple[float, float, float]
    rival_changes: int

    def row(self) -> dict[str, object]:
        """For a table."""
        predicted = "none" if self.predicted is None else f"{self.predicted:.2%}"
        start, ours, rival = (f"{size:.6g}" for size in self.sizes)
        return {
            "cache": self.cache,
            "before": f"{self.before:.2%}",
            "predicted": predicted,
            "realised": f"{self.realised:.2%}",
            "state": self.state,
            "size": start,
            "agent": ours,
            "doubling": f"{rival} in {self.rival_changes} steps",
        }


def outcome_of(
    cache: str,
    answer: dict[str, Any],
    *,
    before: float,
    realised: float,
    sizes: tuple[float, float, float],
    rival_changes: int,
) -> Outcome:
    """Put together what `prime-spark tune now --json` said and what was measured."""
    actions = answer["actions"]
    predicted = actions[0]["proposal"]["parameters"]["predicted_hit_rate"] if actions else None
    state = actions[0]["state"] if actions else f"nothing proposed: {answer['studies']}"
    return Outcome(cache, before, predicted, realised, state, sizes, rival_changes)


def figures(cache: str, outcomes: Sequence[Outcome]) -> list[Figure]:
    """The figures of one kind of cache."""
    realised, low, high = quartiles([one.realised for one in outcomes])
    errors = [abs(one.predicted - one.realised) for one in outcomes if one.predicted is not None]
    error = quartiles(errors) if len(errors) == len(outcomes) else (None, None, None)
    ratio, ratio_low, ratio_high = quartiles([one.sizes[1] / one.sizes[2] for one in outcomes])
    start = quartiles([one.before for one in outcomes])[0]
    count = f"{len(outcomes)} runs, quartiles; from {start:.1%}"
    return [
        Figure(f"{cache}: hit rate", realised, "", low, high, at_least=TARGET, note=count),
        Figure(
            f"{cache}: predicted less realised hit rate",
            error[0],
            "",
            error[1],
            error[2],
            at_most=MOST_ERROR,
            note="absolute",
        ),
        Figure(
            f"{cache}: size relative to doubling until it is enough",
            ratio,
            "",
            ratio_low,
            ratio_high,
            note="one change instead of " + "/".join(str(one.rival_changes) for one in outcomes),
        ),
    ]
