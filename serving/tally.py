"""What one arm has served: sums per minute for the ledger and totals for /metrics.

The ledger gets absolute numbers for this worker and minute, so writing them again changes nothing.
The minute is taken when the sums are collected, each `flush_seconds`: a request near the end of a
minute may be counted in the next one.
"""

from __future__ import annotations

from registry.records import ExposureWindow, Variant
from registry.sketch import bucket_of, merge

_MINUTE_S = 60.0


class Tally:
    """The counts of one arm on one worker; used from the event loop only."""

    __slots__ = (
        "_bucket",
        "_dirty",
        "_minute",
        "_objective_ms",
        "_past_count",
        "_past_errors",
        "_past_over",
        "_past_sketch",
        "_past_sum_ms",
        "count",
        "errors",
        "experiment_id",
        "model",
        "over",
        "sketch",
        "sum_ms",
        "sumsq",
        "variant",
        "version",
    )

    def __init__(
        self,
        model: str,
        version: int,
        variant: Variant,
        experiment_id: str | None,
        objective_ms: float,
    ) -> None:
        self.model = model
        self.version = version
        self.variant = variant
        self.experiment_id = experiment_id
        self._objective_ms = objective_ms
        self._minute: float | None = None
        self._past_count = self._past_errors = self._past_over = 0
        self._past_sum_ms = 0.0
        self._past_sketch: dict[int, int] = {}
        self._bucket = bucket_of
        self._dirty = False
        self._clear()

    def _clear(self) -> None:
        self.count = self.errors = self.over = 0
        self.sum_ms = self.sumsq = 0.0
        self.sketch: dict[int, int] = {}

    def add(self, latency_ms: float, *, failed: bool) -> None:
        """Count one request this arm was asked to answer."""
        self.count += 1
        if failed:
            self.errors += 1
        if latency_ms > self._objective_ms:
            self.over += 1
        self.sum_ms += latency_ms
        self.sumsq += latency_ms * latency_ms
        index = self._bucket(latency_ms)
        self.sketch[index] = self.sketch.get(index, 0) + 1
        self._dirty = True

    def collect(self, worker: str, now: float) -> list[ExposureWindow]:
        """Return the windows to write: finished minutes, and the current one if it changed.

        Args:
            worker: this worker's unique name.
            now: seconds since the epoch. If the clock is stepped back, the counts stay in the
                minute they are in, since that minute's earlier numbers must not be overwritten.
        """
        minute = now - now % _MINUTE_S
        if self._minute is None:
            self._minute = minute
        windows: list[ExposureWindow] = []
        if self._dirty:
            windows.append(self._window(worker))
            self._dirty = False
        if minute > self._minute:
            self._roll(minute)
        return windows

    def settled(self, now: float) -> bool:
        """Tell whether all is collected and this tally's last minute is over."""
        return not self._dirty and self._minute is not None and now >= self._minute + 2 * _MINUTE_S

    def _roll(self, minute: float) -> None:
        self._past_count += self.count
        self._past_errors += self.errors
        self._past_over += self.over
        self._past_sum_ms += self.sum_ms
        self._past_sketch = merge((self._past_sketch, self.sketch))
        self._clear()
        self._minute = minute

    def _window(self, worker: str) -> ExposureWindow:
        return ExposureWindow(
            worker=worker,
            model=self.model,
            version=self.version,
            variant=self.variant,
            experiment_id=self.experiment_id,
            started_at=self._minute or 0.0,
            count=self.count,
            errors=self.errors,
            over_objective=self.over,
            latency_sum_ms=self.sum_ms,
            latency_sumsq=self.sumsq,
            sketch=dict(self.sketch),
        )

    @property
    def total_count(self) -> int:
        """Requests since this worker started."""
        return self._past_count + self.count

    @property
    def total_errors(self) -> int:
        """Errors since this worker started."""
        return self._past_errors + self.errors

    @property
    def total_over(self) -> int:
        """Requests over the latency objective since this worker started."""
        return self._past_over + self.over

    @property
    def total_sum_ms(self) -> float:
        """Milliseconds spent on all requests since this worker started."""
        return self._past_sum_ms + self.sum_ms

    @property
    def total_sketch(self) -> dict[int, int]:
        """Latencies since this worker started, as a sketch."""
        return merge((self._past_sketch, self.sketch))
