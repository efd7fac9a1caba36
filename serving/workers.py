"""Keeps as many workers running as are wanted, from within the process that supervises them.

BentoML starts the number of workers in its settings and offers no way to change it. The supervisor
it starts them with, circus' arbiter, can: it is asked for more processes, and a worker that is to
go is told to drain (`serving.drain`) and forgotten once it has ended. Neither is patched.

Each look compares what runs with what is wanted and takes one step, so a worker that crashes, a
knob that is turned half way, or a supervisor that is busy with something else only mean that the
next look finds something to do. A worker is never taken away before enough others answer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from circus.exc import ConflictError as CircusBusy  # type: ignore[import-untyped]

from config.clock import Clock
from config.errors import PrimeSparkError
from config.settings import Settings
from registry.knobs import BOUNDS, ROOT, KnobBounds
from registry.workers import WorkerNote, samples_path, write_note
from serving import last_good
from serving.arbiter import Arbiter, Process, Watcher, find_arbiter
from serving.ledger import LedgerLink

_log = logging.getLogger("prime_spark.serving")

KNOB = "workers"
DRAIN_SIGNAL = signal.SIGUSR1
"""Tells a worker to finish what it has and end; SIGTERM ends it at once, as before."""

WORKERS_PER_CORE = 4
"""More than this gain nothing: a knob that asks for more is held here."""

_WATCHER, _ACTIVE = "service", "active"
_FIND_S = 60.0
# A worker that dies again and again is not started again faster than this.
_RESTART_S = 5.0
_DRAIN_SLACK_S = 10.0


class WantedWorkers:
    """How many workers are wanted: the knob, else the settings; the last while nobody answers."""

    def __init__(self, settings: Settings, ledger: LedgerLink, cores: int) -> None:
        self._ledger = ledger
        self._settings = settings.serving.workers
        self._bounds = _bounds(cores)
        saved = last_good.load(settings.home_dir.run / "serving-last-good.json")
        self._last = self._number(saved.knobs.get(ROOT, {}))
        self._away = False

    def read(self) -> int:
        """Ask the ledger."""
        try:
            self._last = self._number(self._ledger.stores().knobs.read(ROOT))
            self._away = False
        except PrimeSparkError as error:
            if not self._away:
                _log.warning("the wanted number of workers stays %d: %s", self._last, error)
            self._away = True
        return self._last

    def _number(self, knobs: Mapping[str, float]) -> int:
        value = knobs.get(KNOB)
        if value is None:
            return self._settings
        return int(min(max(value, self._bounds.low), self._bounds.high))


def _bounds(cores: int) -> KnobBounds:
    known = BOUNDS[KNOB]
    return KnobBounds(known.low, min(known.high, WORKERS_PER_CORE * max(1, cores)))


class WorkerCount:
    """Brings the number of workers to what is wanted, step by step; used on the arbiter's loop.

    Args:
        answers: tells of a process id whether that worker takes requests already.
        note: is told what runs, whenever it has changed.
        limit_s: a worker that drains for longer than this hangs, and is killed.
    """

    def __init__(
        self,
        answers: Callable[[int], bool],
        note: Callable[[WorkerNote], None],
        limit_s: float,
        clock: Clock,
    ) -> None:
        self._answers = answers
        self._note = note
        self._limit_s = limit_s
        self._clock = clock
        self._draining: dict[int, float] = {}
        self._wanted = 0
        self._start_from = 0.0
        self._noted: WorkerNote | None = None

    def look(self, watcher: Watcher, wanted: int) -> None:
        """Take the next step towards `wanted` workers."""
        if watcher.status() != _ACTIVE:
            return
        if wanted != self._wanted:
            _log.info("%d workers are wanted", wanted)
            self._wanted, self._start_from = wanted, 0.0
        alive = _alive(watcher)
        pids = {one.pid for one in alive}
        self._draining = {pid: by for pid, by in self._draining.items() if pid in pids}
        staying = [one for one in alive if one.pid not in self._draining]
        answering = {one.pid for one in staying if self._answers(one.pid)}
        for one in leaving(staying, answering, wanted):
            self._drain(watcher, one.pid)
        self._kill_hung(watcher)
        # Never fewer than run: circus would end the surplus at once, without draining it.
        stays = len(alive) - len(self._draining)
        self._settle(watcher, max(stays, wanted) + len(self._draining), len(alive))
        self._tell(answering - self._draining.keys())

    def _drain(self, watcher: Watcher, pid: int) -> None:
        _log.info("worker %d drains", pid)
        watcher.send_signal(pid, DRAIN_SIGNAL)
        self._draining[pid] = self._clock.monotonic() + self._limit_s

    def _kill_hung(self, watcher: Watcher) -> None:
        now = self._clock.monotonic()
        for pid, by in self._draining.items():
            if now > by:
                _log.warning("worker %d has not ended by itself; it is killed", pid)
                watcher.send_signal(pid, signal.SIGKILL)

    def _settle(self, watcher: Watcher, number: int, alive: int) -> None:
        """Tell circus how many processes there are to be, and start what is missing."""
        now = self._clock.monotonic()
        # Circus refuses while it is at something else, such as its own look at the processes.
        with contextlib.suppress(CircusBusy):
            if watcher.numprocesses != number:
                watcher.set_opt("numprocesses", number)
            if alive < number and now >= self._start_from:
                self._start_from = now + _RESTART_S
                # Circus' own `start` would first wait for all that run to end.
                for _ in range(number - alive):
                    watcher.spawn_process()

    def _tell(self, answering: Collection[int]) -> None:
        note = WorkerNote(
            os.getpid(), self._wanted, tuple(sorted(answering)), tuple(sorted(self._draining))
        )
        if note != self._noted:
            self._note(note)
            self._noted = note


def _alive(watcher: Watcher) -> list[Process]:
    """The processes that run; circus is told of the others, which it would notice much later."""
    found = []
    for one in list(watcher.processes.values()):
        if one.is_alive():
            found.append(one)
        else:
            watcher.reap_process(one.pid)
    return found


def leaving(
    staying: Sequence[Process], answering: Collection[int], wanted: int
) -> Iterator[Process]:
    """The workers to take away: those that do not answer yet first, then the oldest.

    One that answers goes only while `wanted` others answer. Pure.
    """
    surplus = len(staying) - wanted
    left = len(answering)
    for one in sorted(staying, key=lambda one: (one.pid in answering, one.started)):
        if surplus <= 0:
            return
        if one.pid in answering:
            if left <= wanted:
                return
            left -= 1
        surplus -= 1
        yield one


class WorkerScaler:
    """Polls the wanted number on a thread of its own, and has the arbiter's loop follow it."""

    def __init__(
        self, wanted: Callable[[], int], count: WorkerCount, poll_s: float, clock: Clock
    ) -> None:
        self._wanted = wanted
        self._count = count
        self._poll_s = poll_s
        self._clock = clock
        self._found = False
        self._missed = False

    def start(self) -> None:
        """Begin to poll, until the process ends."""
        threading.Thread(target=self._run, name="worker-scaler", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        began = self._clock.monotonic()
        while True:
            try:
                self.poll(self._clock.monotonic() - began)
            except Exception:  # noqa: BLE001 - the loop's border; the next round starts afresh
                _log.exception("a look at the number of workers failed; it stays")
            pause.wait(self._poll_s)

    def poll(self, since_s: float) -> None:
        """Look once; `since_s` seconds have passed since the first look."""
        arbiter = find_arbiter()
        if arbiter is not None and arbiter.running:
            self._found = True
            arbiter.loop.add_callback(self._look, arbiter, self._wanted())
        elif not self._found and not self._missed and since_s > _FIND_S:
            self._missed = True
            _log.warning(
                "the number of workers stays as it is: this version of BentoML supervises them in "
                "a way that is not known here"
            )

    def _look(self, arbiter: Arbiter, wanted: int) -> None:
        try:
            self._count.look(arbiter.get_watcher(_WATCHER), wanted)
        except Exception:  # noqa: BLE001 - on the loop that supervises the workers: it must go on
            _log.exception("the number of workers could not be looked after; it stays")


def scaler(settings: Settings, clock: Clock, cores: int) -> WorkerScaler:
    """The scaler of the process that supervises the workers of these settings."""
    run = settings.home_dir.create().run
    board = run / "serving"
    wanted = WantedWorkers(settings, LedgerLink(settings.ledger_url, clock), cores)
    serving = settings.serving
    limit_s = serving.drain_seconds + serving.request_timeout_seconds + _DRAIN_SLACK_S
    count = WorkerCount(lambda pid: samples_path(board, pid).exists(), _noter(run), limit_s, clock)
    return WorkerScaler(wanted.read, count, serving.poll_seconds, clock)


def _noter(run: Path) -> Callable[[WorkerNote], None]:
    def write(note: WorkerNote) -> None:
        try:
            write_note(run, note)
        except OSError as error:
            _log.warning("which workers run could not be noted: %s", error)

    return write
