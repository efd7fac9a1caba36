"""The resident agent: leads, ticks, shows signs of life, and ends when it is asked to.

Actions are carried out in the processes of their flow runs: ending the agent, or killing it, leaves
each of them to its own process or to the next agent.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata

from pydantic import JsonValue

from config.errors import PrimeSparkError
from flows.resident.analysing import Analyst
from flows.resident.anchoring import EVERY_S, anchor
from flows.resident.executing import Executor
from flows.resident.leadership import Leadership
from flows.resident.loops import Beat, Loop, Loops
from flows.resident.monitoring import Monitor
from flows.resident.optimising import Optimiser
from flows.resident.world import AgentWorld

_log = logging.getLogger("prime_spark.agent")

MONITOR, ANALYZE, OPTIMIZE, EXECUTE = "monitor", "analyze", "optimize", "execute"
_LEAD, _ANCHOR = "lead", "anchor"
# What the agent is said to be doing while several loops tick: the weightiest.
_STATES = ((EXECUTE, "executing"), (OPTIMIZE, "optimizing"), (ANALYZE, "analyzing"))

_BEATS_A_LEASE = 3.0
_TICK_S = 0.2
_END_S = 3.0


@dataclass(slots=True)
class Resident:
    """One agent process."""

    world: AgentWorld
    stopping: threading.Event = field(default_factory=threading.Event)
    _leadership: Leadership = field(init=False)
    _loops: Loops = field(init=False)
    _started_at: float = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        lease_s = world.settings.agent.lease_seconds
        self._started_at = world.now
        self._leadership = Leadership(world.leases, world.holder, lease_s, world.clock)
        self._loops = Loops(self._all(), world.clock, self.stopping)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Work until `stopped` says so; then end within seconds."""
        _log.info("agent %s started (process %d)", self.world.holder, os.getpid())
        self._loops.start()
        while not stopped():
            # A signal's handler only sets a flag: nobody wakes this thread.
            self.stopping.wait(_TICK_S)
        self.end()

    def end(self) -> None:
        """Let ticks in progress come to their end, shortly, and let another agent lead."""
        self.stopping.set()
        if not self._loops.join(_END_S):
            _log.warning("a tick in progress was left; its work is found again by the next agent")
        try:
            if self._leadership.held:
                self._beat("stopped")
            self._leadership.give_up()
        except PrimeSparkError as error:
            _log.info("the lead is left to run out: %s", error)
        _log.info("agent %s stopped", self.world.holder)

    def _all(self) -> list[Loop]:
        world, every = self.world, self.world.settings.monitoring
        monitor = Monitor(world)
        analyst = Analyst(world, monitor)
        optimiser = Optimiser(world, monitor)
        executor = Executor(world, since=self._last_alive())
        standby = self._leadership.standby
        lease_s = world.settings.agent.lease_seconds

        def resting() -> str:
            return standby() or optimiser.skip()

        execute_s = every.execution_interval_seconds
        # The first ticks follow each other: nothing is decided before something was seen.
        return [
            Loop(_LEAD, lease_s / _BEATS_A_LEASE, self._lead),
            Loop(MONITOR, every.interval_seconds, monitor.tick, standby, 0.5),
            Loop(ANALYZE, every.analysis_interval_seconds, analyst.tick, standby, 1.0),
            Loop(OPTIMIZE, every.optimization_interval_seconds, optimiser.tick, resting, 1.5),
            Loop(EXECUTE, execute_s, executor.tick, standby, 2.0),
            Loop(_ANCHOR, EVERY_S, lambda: anchor(world), standby, 5.0),
        ]

    def _last_alive(self) -> float:
        """When an agent last showed life: what ended since was told by nobody yet."""
        fact = self.world.stores.control.fact("beat")
        return min(fact.at, self.world.now) if fact is not None else self.world.now

    def _lead(self) -> None:
        """Hold the lead, and leave a sign of life in the ledger."""
        if self._leadership.hold():
            self._beat(self._state())

    def _beat(self, state: str) -> None:
        loops: dict[str, JsonValue] = {
            name: _loop(beat) for name, beat in self._loops.beats.items()
        }
        safety = self.world.settings.safety
        broken = self.world.installed.broken
        value: Mapping[str, JsonValue] = {
            "agent": self.world.holder,
            "state": state,
            "started_at": self._started_at,
            "pid": os.getpid(),
            "version": metadata.version("prime-spark"),
            "automatic": safety.enable_automatic_actions,
            "simulation": safety.simulation_mode,
            "plugins_off": [f"{one.name}: {one.reason}" for one in broken],
            "loops": loops,
        }
        self.world.stores.control.set_fact("beat", dict(value), self.world.holder)

    def _state(self) -> str:
        busy = self._loops.busy
        return next((words for name, words in _STATES if name in busy), "monitoring")


def _loop(beat: Beat) -> JsonValue:
    found: dict[str, JsonValue] = {"at": beat.at, "seconds": round(beat.seconds, 4)}
    if beat.trouble:
        found["trouble"] = beat.trouble
    if beat.skipped:
        found["skipped"] = beat.skipped
    return found
