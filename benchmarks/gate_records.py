"""What the gate decides and what it decided on: frozen records with a JSON form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from benchmarks.arrivals import FloatArray
from benchmarks.comparisons import Bounds, Outcome
from benchmarks.measures import Measure, Reading


class GateVerdict(StrEnum):
    """May the candidate meet live traffic?"""

    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of candidate and champion, and whether the candidate is good enough in it.

    Attributes:
        name: the measure.
        unit: of every number here.
        candidate: its value; ``None`` when it is missing.
        champion: its value, or the least value wanted when there is no champion.
        excess: how much worse the candidate is (positive = worse), with bounds one-sided at the
            gate's alpha; ``None`` where bounds make no sense.
        margin: how much worse it may be.
        outcome: pass, fail or inconclusive.
        sentence: the same in words and numbers.
    """

    name: str
    unit: str
    candidate: float | None
    champion: float | None
    excess: Bounds | None
    margin: float | None
    outcome: Outcome
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form; bounds that are infinite or unknown are null."""
        bounds = self.excess
        return {
            "name": self.name,
            "unit": self.unit,
            "candidate": self.candidate,
            "champion": self.champion,
            "worse_by": None if bounds is None else _finite(bounds.estimate),
            "worse_by_low": None if bounds is None else _finite(bounds.low),
            "worse_by_high": None if bounds is None else _finite(bounds.high),
            "margin": self.margin,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _no_samples() -> FloatArray:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class ArmReport:
    """All measures of one version, and its latencies in ms in the order they were measured."""

    model: str
    version: int
    digest: str
    readings: tuple[Reading, ...]
    latencies_ms: FloatArray = field(default_factory=_no_samples, repr=False, compare=False)

    def reading(self, name: str) -> Reading | None:
        """The measure of that name, if it was taken at all."""
        return next((reading for reading in self.readings if reading.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the single latencies."""
        return {
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "measures": [reading.to_dict() for reading in self.readings],
        }


@dataclass(frozen=True, slots=True)
class Conditions:
    """How it was measured.

    Attributes:
        offered_rate: requests per second offered to each arm for its latency.
        block_order: which arm was measured when: A candidate, B champion.
        samples: latencies measured per arm.
        evaluation_rows: labelled rows used.
        client_lag_p99_ms: how late this machine woke the client, which is not in the latencies.
        seconds: the whole gate.
    """

    offered_rate: float | None = None
    block_order: str = ""
    samples: int = 0
    evaluation_rows: int = 0
    client_lag_p99_ms: float | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "offered_rate_per_second": self.offered_rate,
            "block_order": self.block_order,
            "samples": self.samples,
            "evaluation_rows": self.evaluation_rows,
            "client_lag_p99_ms": self.client_lag_p99_ms,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class GateResult:
    """The verdict, its reason in one sentence, and every number behind it."""

    verdict: GateVerdict
    reason: str
    candidate: ArmReport
    champion: ArmReport | None
    comparisons: tuple[Comparison, ...]
    conditions: Conditions

    def to_dict(self) -> dict[str, Any]:
        """JSON form, for the decision record."""
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "candidate": self.candidate.to_dict(),
            "champion": None if self.champion is None else self.champion.to_dict(),
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "conditions": self.conditions.to_dict(),
        }

    def metrics(self) -> tuple[Measure, ...]:
        """Every available measure of both arms, named ``candidate.…`` and ``champion.…``."""
        arms = {"candidate": self.candidate, "champion": self.champion}
        return tuple(
            Measure(f"{name}.{item.name}", item.value, item.unit, item.low, item.high)
            for name, arm in arms.items()
            if arm is not None
            for item in arm.readings
            if isinstance(item, Measure)
        )


def conclude(comparisons: tuple[Comparison, ...]) -> tuple[GateVerdict, str]:
    """The verdict over all comparisons: one failure rejects, one open question holds back.

    No comparison at all is an open question.
    """
    failed = [c.sentence for c in comparisons if c.outcome is Outcome.FAIL]
    unsure = [c.sentence for c in comparisons if c.outcome is Outcome.INCONCLUSIVE]
    if failed:
        return GateVerdict.REJECT, f"Rejected: {'; '.join(failed)}."
    if unsure or not comparisons:
        return (
            GateVerdict.INCONCLUSIVE,
            f"Inconclusive: {'; '.join(unsure) or 'nothing could be compared'}.",
        )
    return GateVerdict.ACCEPT, f"Accepted: {'; '.join(c.sentence for c in comparisons)}."
