"""What the demo's traffic has seen so far: its own counts, from the answers alone.

The traffic runs in a process of its own and writes a `TrafficStatus` to a file now and then; the
story reads it. Nothing in it comes from the servers' own bookkeeping. Times are seconds since the
epoch (UTC).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

CHAMPION = "champion"
UNKNOWN_VERSION = 0


class Counts(BaseModel):
    """A group of counts that does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionCounts(Counts):
    """What one version answered; `right` of the `answers` were the true digit."""

    answers: int = 0
    right: int = 0
    failed: int = 0

    @property
    def requests(self) -> int:
        """Requests this version was asked to answer."""
        return self.answers + self.failed

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, or None without any answer."""
        return self.right / self.answers if self.answers else None

    def since(self, before: VersionCounts) -> VersionCounts:
        """Return what came after `before`."""
        return VersionCounts(
            answers=self.answers - before.answers,
            right=self.right - before.right,
            failed=self.failed - before.failed,
        )


class FeedbackTally(Counts):
    """Labels sent as feedback, and what the predictor said of them."""

    sent: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0


class ChampionRun(Counts):
    """A stretch of time in which one version answered as champion."""

    version: int
    first_at: float
    last_at: float


class TrafficStatus(Counts):
    """All counts at one moment. `failures` counts failed requests by what went wrong."""

    at: float = 0.0
    sent: int = 0
    versions: dict[int, VersionCounts] = {}
    failures: dict[str, int] = {}
    feedback: FeedbackTally = FeedbackTally()
    champion_runs: tuple[ChampionRun, ...] = ()
    p95_ms: float | None = None

    @property
    def answered(self) -> int:
        """Requests that were answered with a prediction."""
        return sum(counts.answers for counts in self.versions.values())

    @property
    def failed(self) -> int:
        """Requests that were not."""
        return sum(self.failures.values())

    def version(self, number: int) -> VersionCounts:
        """Return the counts of one version, zero if it was never met."""
        return self.versions.get(number, VersionCounts())

    def since(self, before: TrafficStatus) -> TrafficStatus:
        """Return what came after `before`; champion runs and latency stay as they are now."""
        versions = {n: c.since(before.version(n)) for n, c in self.versions.items()}
        failures = {k: n - before.failures.get(k, 0) for k, n in self.failures.items()}
        feedback = FeedbackTally(
            **{
                name: getattr(self.feedback, name) - getattr(before.feedback, name)
                for name in FeedbackTally.model_fields
            }
        )
        return self.model_copy(
            update={
                "sent": self.sent - before.sent,
                "versions": {n: c for n, c in versions.items() if c.requests},
                "failures": {k: n for k, n in failures.items() if n},
                "feedback": feedback,
            }
        )


def write_status(path: Path, status: TrafficStatus) -> None:
    """Replace the file in one step, so that no reader meets half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(status.model_dump_json(), encoding="utf-8")
    draft.replace(path)


def read_status(path: Path) -> TrafficStatus | None:
    """Return the last status written, or None if there is none yet."""
    try:
        return TrafficStatus.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


@dataclass(slots=True)
class _Running:
    answers: int = 0
    right: int = 0
    failed: int = 0


@dataclass(slots=True)
class TrafficCounter:
    """Adds up what comes back."""

    sent: int = 0
    versions: dict[int, _Running] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    feedback: Counter[str] = field(default_factory=Counter)
    runs: list[ChampionRun] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def answered(
        self, version: int, variant: str, *, right: bool, sent_at: float, at: float
    ) -> None:
        """Count an answer with a prediction."""
        counts = self.versions.setdefault(version, _Running())
        counts.answers += 1
        counts.right += right
        self.latencies_ms.append((at - sent_at) * 1000.0)
        if variant == CHAMPION:
            self._champion(version, sent_at, at)

    def failed(self, version: int, kind: str) -> None:
        """Count a request that got no prediction; `version` 0 stands for not known."""
        self.versions.setdefault(version, _Running()).failed += 1
        self.failures[kind if version == UNKNOWN_VERSION else f"v{version}: {kind}"] += 1

    def status(self, at: float) -> TrafficStatus:
        """Return the counts, and the 95th percentile of the latencies since the last call."""
        recent, self.latencies_ms = sorted(self.latencies_ms), []
        return TrafficStatus(
            at=at,
            sent=self.sent,
            versions={
                n: VersionCounts(answers=c.answers, right=c.right, failed=c.failed)
                for n, c in sorted(self.versions.items())
            },
            failures=dict(self.failures),
            feedback=FeedbackTally(**self.feedback),
            champion_runs=tuple(self.runs),
            p95_ms=recent[int(0.95 * len(recent))] if recent else None,
        )

    def _champion(self, version: int, sent_at: float, at: float) -> None:
        last = self.runs[-1] if self.runs else None
        if last is not None and last.version == version:
            self.runs[-1] = last.model_copy(update={"last_at": at})
        elif last is not None and sent_at < last.first_at and len(self.runs) > 1:
            self._straggler(version, at)
        else:
            self.runs.append(ChampionRun(version=version, first_at=at, last_at=at))

    def _straggler(self, version: int, at: float) -> None:
        """An answer that was under way while the champion changed belongs to the run before."""
        before = self.runs[-2]
        if before.version == version:
            self.runs[-2] = before.model_copy(update={"last_at": at})
