"""What a replay is given besides the traffic, and what came of it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from benchmarks.batching.traffic import Traffic

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Server:
    """What a request costs and meets at the server, besides the runs.

    Attributes:
        read_s: seconds of the loop from the arrival to the batcher.
        answer_s: seconds of the loop from the outputs to the answer.
        handoff_s: seconds of the loop for handing a run over to a thread and back.
        cores: cores of the worker; runs that use all of them stand still while the loop works.
        queue_limit: requests that may wait; more are refused.
        timeout_s: after this a request in a queue is given up.
        batchable: whether rows of several requests can be run together.
    """

    read_s: float = 0.000_06
    answer_s: float = 0.000_06
    handoff_s: float = 0.000_06
    cores: int = 2
    queue_limit: int = 256
    timeout_s: float = 10.0
    batchable: bool = True


@dataclass(frozen=True, slots=True)
class Objective:
    """No more than `1 - share` of the requests may take longer than `latency_ms`, or fail."""

    latency_ms: float
    share: float = 0.99

    def misses(self, requests: int) -> int:
        """How many of so many requests may miss it."""
        return math.floor((1.0 - self.share) * requests + 1e-9)


@dataclass(slots=True)
class Replayed:
    """What became of the traffic.

    Attributes:
        answered: when each request was answered, seconds; infinite for those that were not.
        runs: start, rows and requests of each run.
        cpu_s: processor seconds of runs and requests.
        gave_up: the replay was ended because the objective was missed already.
    """

    traffic: Traffic
    answered: list[float]
    runs: list[tuple[float, int, int]] = field(default_factory=list)
    cpu_s: float = 0.0
    gave_up: bool = False

    def latencies_ms(self) -> list[float]:
        """Of all that count, ascending."""
        first = self.traffic.warm_up
        pairs = zip(self.answered[first:], self.traffic.at[first:], strict=True)
        return sorted((done - at) * 1e3 for done, at in pairs)

    def percentile_ms(self, share: float = 0.99) -> float:
        """The latency that this share of the requests stayed within."""
        found = self.latencies_ms()
        return found[min(math.ceil(share * len(found)), len(found)) - 1]

    @property
    def mean_ms(self) -> float:
        """The mean latency of those that were answered."""
        found = [value for value in self.latencies_ms() if value < NEVER]
        return sum(found) / len(found) if found else NEVER

    @property
    def cpu_per_request_s(self) -> float:
        """Processor seconds a request."""
        return self.cpu_s / len(self.traffic.at)

    @property
    def rows_per_run(self) -> float:
        """Mean rows of a run."""
        return sum(rows for _, rows, _ in self.runs) / max(len(self.runs), 1)
