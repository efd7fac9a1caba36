"""Loops that tick on the monotonic clock, each in a thread of its own.

A tick that was missed (the machine slept, the tick before took too long) is not made up for: the
next one comes at the next multiple of the interval. A tick that fails is told once and tried again
at its next time. Not promised: that a tick in progress ends when the loops are asked to stop.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from config.clock import Clock, epoch
from config.errors import PrimeSparkError

_log = logging.getLogger("prime_spark.agent")


@dataclass(frozen=True, slots=True)
class Loop:
    """What is done again and again.

    Attributes:
        name: as in the agent's status and log.
        interval_s: seconds from the beginning of one tick to the beginning of the next.
        tick: does it once.
        skip: says why a tick is left out; empty for not at all.
        first_s: seconds until the first tick.
    """

    name: str
    interval_s: float
    tick: Callable[[], object]
    skip: Callable[[], str] = lambda: ""
    first_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Beat:
    """How a loop's last tick went.

    Attributes:
        at: when it ended, epoch seconds.
        seconds: how long it took.
        trouble: why it failed; empty when it did not.
        skipped: why the present tick was left out; empty when it was not.
    """

    at: float
    seconds: float
    trouble: str = ""
    skipped: str = ""


def next_time(planned: float, now: float, interval_s: float) -> float:
    """When to tick after a tick that was planned for `planned` and has ended `now` (monotonic).

    The times stay multiples of the interval apart; those that are over are left out.
    """
    missed = math.floor(max(0.0, now - planned) / interval_s)
    return planned + (missed + 1) * interval_s


class Loops:
    """Runs loops until they are stopped.

    Args:
        loops: what to run.
        clock: its monotonic time decides when.
        stopping: set to end all of them; also ends their rests at once.
        rest: waits until `stopping` is set, or for some seconds.
    """

    def __init__(
        self,
        loops: Sequence[Loop],
        clock: Clock,
        stopping: threading.Event,
        rest: Callable[[float], object] | None = None,
    ) -> None:
        self._loops = tuple(loops)
        self._clock = clock
        self._stopping = stopping
        self._rest = rest or stopping.wait
        self._lock = threading.Lock()
        self._beats: dict[str, Beat] = {}
        self._busy: set[str] = set()
        self._threads: list[threading.Thread] = []

    @property
    def beats(self) -> Mapping[str, Beat]:
        """The last tick of each loop."""
        with self._lock:
            return dict(self._beats)

    @property
    def busy(self) -> frozenset[str]:
        """The loops in the middle of a tick."""
        with self._lock:
            return frozenset(self._busy)

    def start(self) -> None:
        """Begin ticking, each loop in a thread that does not keep the process alive."""
        for loop in self._loops:
            thread = threading.Thread(target=self.run, args=(loop,), name=loop.name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the ticks in progress; return whether all have ended."""
        end = self._clock.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def run(self, loop: Loop) -> None:
        """Tick one loop until it is stopped."""
        planned = self._clock.monotonic() + loop.first_s
        while not self._stopping.is_set():
            left = planned - self._clock.monotonic()
            if left > 0:
                self._rest(left)
                continue
            self.tick(loop)
            planned = next_time(planned, self._clock.monotonic(), loop.interval_s)

    def tick(self, loop: Loop) -> None:
        """Tick a loop once and note how it went."""
        begun = self._clock.monotonic()
        with self._lock:
            self._busy.add(loop.name)
        skipped, trouble = "", ""
        try:
            skipped = loop.skip()
            if not skipped:
                loop.tick()
        except PrimeSparkError as error:
            trouble = str(error)
        except Exception as error:  # noqa: BLE001 - a mistake in one tick must not end the agent
            _log.debug("the %s loop", loop.name, exc_info=True)
            trouble = f"{type(error).__name__}: {error}"
        self._note(loop.name, begun, skipped, trouble)

    def _note(self, name: str, begun: float, skipped: str, trouble: str) -> None:
        seconds = self._clock.monotonic() - begun
        beat = Beat(epoch(self._clock.now()), seconds, trouble, skipped)
        with self._lock:
            self._busy.discard(name)
            before = self._beats.get(name)
            self._beats[name] = beat
        if trouble and (before is None or before.trouble != trouble):
            _log.warning("the %s loop failed and goes on: %s", name, trouble)
        elif before is not None and before.trouble and not trouble:
            _log.info("the %s loop works again", name)
