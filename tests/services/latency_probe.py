"""A process that does a little work again and again and tells how long that takes, as a target."""

from __future__ import annotations

from pathlib import Path

from optimizers.targets.base import Observed, ObserveOnly
from registry.agent_records import Observation

PROBE = """
import sys, time
work_s, rest_s, file = float(sys.argv[2]), float(sys.argv[3]), open(sys.argv[4], "r+b", 0)
count, total = 0, 0.0
while True:
    began = time.perf_counter()
    until = time.thread_time() + work_s
    while time.thread_time() < until:
        pass
    count, total = count + 1, total + time.perf_counter() - began
    file.seek(0)
    file.write(f"{count:012d} {total:020.9f}".encode())
    time.sleep(rest_s)
"""


class ProbeTarget(ObserveOnly):
    """Reads what the probe wrote: the mean time of its work since the last look."""

    name = "serving"

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last: tuple[int, float] | None = None

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        count, total = self._file.read_text().split()
        now = int(count), float(total)
        last, self._last = self._last, now
        if last is None or now[0] == last[0]:
            return Observed()
        mean_ms = 1000.0 * (now[1] - last[1]) / (now[0] - last[0])
        return Observed([Observation(self.name, "inference_latency_ms", mean_ms, at, "ms")])
