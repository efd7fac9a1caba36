from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from circus.exc import ConflictError as CircusBusy  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from config.clock import ManualClock, SystemClock
from config.settings import Settings
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.workers import WorkerNote, note_path, read_note, write_note
from serving.ledger import LedgerLink
from serving.workers import DRAIN_SIGNAL, WantedWorkers, WorkerCount, leaving

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Worker:
    pid: int
    started: float
    alive: bool = True

    def is_alive(self) -> bool:
        return self.alive


@dataclass
class Group:
    """Circus' group of workers, as far as it is used: kept in memory, obeyed at once."""

    numprocesses: int = 1
    processes: dict[int, Worker] = field(default_factory=dict)
    state: str = "active"
    busy: bool = False
    signals: list[tuple[int, int]] = field(default_factory=list)
    spawned: int = 0

    def reap_process(self, pid: int) -> None:
        del self.processes[pid]

    def set_opt(self, key: str, val: int) -> int:
        if self.busy:
            raise CircusBusy("busy")
        assert key == "numprocesses"
        self.numprocesses = val
        return 0

    def spawn_process(self) -> object:
        self.spawned += 1
        self.processes[self.spawned] = Worker(self.spawned, float(self.spawned))
        return True

    def send_signal(self, pid: int, signum: int) -> None:
        self.signals.append((pid, signum))

    def status(self) -> str:
        return self.state


@dataclass
class Scene:
    """A group, the count that looks after it, and the workers that answer."""

    group: Group = field(default_factory=Group)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    silent: set[int] = field(default_factory=set)
    notes: list[WorkerNote] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = WorkerCount(
            lambda pid: pid not in self.silent, self.notes.append, 40.0, self.clock
        )

    def look(self, wanted: int, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)
        self.count.look(self.group, wanted)

    @property
    def draining(self) -> tuple[int, ...]:
        return self.notes[-1].draining


def test_more_are_started_at_once_and_noted_when_they_answer() -> None:
    scene = Scene(silent={2, 3})
    scene.look(1)
    scene.look(3)
    assert scene.group.numprocesses == 3
    assert sorted(scene.group.processes) == [1, 2, 3]
    first = scene.notes[-1]
    assert first.running == (1,)
    scene.silent.clear()
    scene.look(3)
    assert (scene.notes[-1].wanted, scene.notes[-1].running) == (3, (1, 2, 3))


def test_one_that_goes_drains_and_is_forgotten_only_when_it_has_ended() -> None:
    scene = Scene()
    scene.look(2)
    scene.look(1)
    scene.look(1)
    assert scene.group.signals == [(1, DRAIN_SIGNAL)]
    assert scene.group.numprocesses == 2, "circus would end one at once"
    scene.group.processes[1].alive = False
    scene.look(1)
    assert (scene.group.numprocesses, list(scene.group.processes)) == (1, [2])
    assert scene.notes[-1] == WorkerNote(scene.notes[-1].supervisor, 1, (2,), ())


def test_none_goes_before_enough_others_answer() -> None:
    scene = Scene(silent={2})
    scene.look(2)
    scene.look(1)
    # The one that does not answer yet has nothing to lose.
    assert scene.group.signals == [(2, DRAIN_SIGNAL)]
    assert list(leaving([Worker(1, 1.0)], {1}, 0)) == [Worker(1, 1.0)]


def test_a_crash_during_a_drain_is_made_up_for() -> None:
    scene = Scene()
    scene.look(3)
    scene.look(2)
    assert scene.draining == (1,)
    scene.group.processes[2].alive = False
    scene.look(2, seconds=10)
    assert sorted(scene.group.processes) == [1, 3, 4]
    assert scene.draining == (1,)
    assert scene.group.numprocesses == 3


def test_one_that_dies_again_and_again_is_not_started_without_pause() -> None:
    scene = Scene()
    scene.look(1)
    for _ in range(10):
        for worker in scene.group.processes.values():
            worker.alive = False
        scene.look(1)
    assert scene.group.spawned <= 4


def test_one_that_hangs_while_it_drains_is_killed() -> None:
    scene = Scene()
    scene.look(2)
    scene.look(1)
    scene.look(1, seconds=39)
    assert scene.group.signals == [(1, DRAIN_SIGNAL)]
    scene.look(1, seconds=2)
    assert scene.group.signals[1:] == [(1, signal.SIGKILL)]


def test_a_busy_circus_is_asked_again_and_a_stopping_one_left_alone() -> None:
    scene = Scene()
    scene.look(1)
    scene.group.busy = True
    scene.look(2)
    assert (scene.group.numprocesses, len(scene.group.processes)) == (1, 1)
    scene.group.busy, scene.group.state = False, "stopping"
    scene.look(2)
    assert len(scene.group.processes) == 1
    scene.group.state = "active"
    scene.look(2)
    assert len(scene.group.processes) == 2


@given(st.lists(st.tuples(st.integers(1, 6), st.sets(st.integers(0, 12))), min_size=1, max_size=30))
def test_it_ends_at_what_is_wanted_and_never_takes_the_last_that_answers(
    steps: Sequence[tuple[int, set[int]]],
) -> None:
    scene = Scene()
    scene.look(1)
    for wanted, dying in steps:
        for pid in dying & scene.group.processes.keys():
            scene.group.processes[pid].alive = False
        told = len(scene.group.signals)
        alive = {pid for pid, one in scene.group.processes.items() if one.alive}
        before = alive - set(scene.draining)
        scene.look(wanted)
        drained = {pid for pid, _ in scene.group.signals[told:]}
        assert not drained or len(before - drained) >= wanted
        assert scene.group.numprocesses >= len(scene.group.processes), "circus would kill"
    for _ in range(4):
        for pid in scene.draining:
            scene.group.processes[pid].alive = False
        scene.look(3, seconds=10)
    assert len(scene.group.processes) == scene.group.numprocesses == 3


def test_the_knob_wins_over_the_settings_and_stays_while_the_ledger_is_away(tmp_path: Path) -> None:
    settings = Settings.model_validate({"home": tmp_path, "serving": {"workers": 2}})
    file = tmp_path / "ledger.db"
    engine = open_ledger(f"sqlite:///{file}")
    store = KnobStore(engine, SystemClock())
    wanted = WantedWorkers(settings, LedgerLink(settings.ledger_url, SystemClock()), cores=2)
    assert wanted.read() == 2
    store.write("serving", "workers", None, 5, "a person", "a test")
    assert wanted.read() == 5
    store.write("serving", "workers", 5, 64, "a person", "a test")
    assert wanted.read() == 8, "four for each core at most"
    engine.dispose()
    for path in tmp_path.glob("ledger.db*"):
        path.write_bytes(b"no ledger any more" * 1000)
    assert wanted.read() == 8
    anew = WantedWorkers(settings, LedgerLink(settings.ledger_url, SystemClock()), cores=2)
    assert anew.read() == 2


def test_a_note_comes_back_as_it_was_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    note = WorkerNote(10, 2, (11, 12), (13,))
    write_note(tmp_path, note)
    assert read_note(tmp_path) == note
    assert read_note(tmp_path / "elsewhere") is None
    for text in ("", "[]", '{"supervisor": 1}', '{"supervisor": -1, "wanted": 1}', "\x00"):
        note_path(tmp_path).write_text(text)
        assert read_note(tmp_path) is None
