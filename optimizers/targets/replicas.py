"""The predictor's workers: how many run, how busy they are, and how many there should be.

The knob `replicas:predictor` is the wanted number as it is written in the ledger, or null when it
never was and the settings hold; writing null takes it away again. The predictor's supervising
process follows it (`serving.workers`) and notes which workers run (`registry.workers`), so what is
seen here is the predictor of this home on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from config.clock import Clock
from config.errors import InputError, UnavailableError
from optimizers.plugins import PluginContext
from optimizers.targets.base import Guard, Observed, Target
from optimizers.targets.counters import Counters
from optimizers.targets.readings import Readings
from optimizers.targets.replicas_facts import KNOB, TARGET, ReplicasFacts
from optimizers.targets.replicas_probe import WorkerUse, alive, room_of, use_of
from optimizers.targets.serving_knobs import EXTRA, ServingKnobs
from registry.agent_records import Change
from registry.knobs import KnobStore
from registry.workers import WorkerNote, read_note

_LEDGER_KNOB = "serving.workers"


class ReplicasTarget:
    """The workers of the predictor of one home.

    Args:
        run: the home's folder `run`.
        knobs: where the wanted number is written; None: it is only observed.
    """

    name = TARGET

    def __init__(self, run: Path, clock: Clock, knobs: ServingKnobs | None) -> None:
        self._run = run
        self._knobs = knobs
        self._counters: Counters[int] = Counters(clock)
        self._known: frozenset[int] = frozenset()

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        """Look at the workers; see :class:`optimizers.targets.base.Target`.

        Where no predictor of this home ever noted its workers, there is nothing to see.
        """
        note = read_note(self._run)
        if note is None:
            return Observed()
        if not alive(note.supervisor):
            raise UnavailableError(
                f"the predictor is not running: process {note.supervisor}, which supervised its "
                "workers, is gone; start it with prime-spark up"
            )
        readings = Readings(self.name, at)
        used = {pid: use for pid in note.running if (use := use_of(pid)) is not None}
        readings.add("workers", float(len(used)))
        readings.add("workers_wanted", float(note.wanted))
        readings.add("workers_draining", float(len(note.draining)))
        self._add_busy(readings, used)
        return readings.observed(self._facts(note, used))

    def _add_busy(self, readings: Readings, used: Mapping[int, WorkerUse]) -> None:
        interval = self._counters.advance({pid: use.cpu_s for pid, use in used.items()})
        # What a worker took to start, before it answered anything, says nothing of the load.
        known, self._known = self._known, frozenset(used)
        if interval is None:
            return
        busy = [
            100.0 * gain / interval.seconds
            for pid, gain in interval.gains.items()
            if pid in known and pid not in interval.resets
        ]
        if busy:
            readings.add("worker_cpu_percent", sum(busy) / len(busy), "%")
            readings.add("workers_cpu_percent_max", max(busy), "%")

    def _facts(self, note: WorkerNote, used: Mapping[int, WorkerUse]) -> ReplicasFacts:
        written = None if self._knobs is None else self._knobs.read(_LEDGER_KNOB)
        return ReplicasFacts(
            written if isinstance(written, int) else None,
            note.wanted,
            len(used),
            room_of(note.running),
            max((use.memory_mb for use in used.values()), default=None),
        )

    def knobs(self) -> Sequence[str]:
        """The wanted number."""
        return () if self._knobs is None else (KNOB,)

    def read(self, knob: str) -> JsonValue:
        """The number as it is written; None when it is not."""
        return self._store(knob).read(_LEDGER_KNOB)

    def write(self, change: Change, guard: Guard) -> None:
        """Want another number; see :class:`optimizers.targets.base.Target`.

        It is wanted from then on; the workers follow within seconds, those that go after they
        have drained.
        """
        store = self._store(change.knob)
        store.write(Change(_LEDGER_KNOB, change.before, change.after), guard)

    def _store(self, knob: str) -> ServingKnobs:
        if knob != KNOB or self._knobs is None:
            raise InputError(f"{self.name} has no knob {knob!r}; it has {KNOB}, with a ledger")
        return self._knobs


def make(context: PluginContext) -> Sequence[Target]:
    """Entry point `replicas`: the workers of the local predictor."""
    if "predictor" not in context.addresses:
        return []
    store = context.extras.get(EXTRA)
    knobs = ServingKnobs(store) if isinstance(store, KnobStore) else None
    return [ReplicasTarget(context.settings.home_dir.run, context.clock, knobs)]
