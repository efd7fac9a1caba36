from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import ConflictError, InputError, UnavailableError
from config.settings import Settings
from optimizers.plugins import PluginContext
from optimizers.targets.replicas import ReplicasTarget, make
from optimizers.targets.replicas_facts import KNOB, ReplicasFacts
from optimizers.targets.replicas_probe import room_of
from optimizers.targets.serving_knobs import EXTRA, ServingKnobs
from optimizers.testing import FreeGuard, check_target
from registry.agent_records import Change
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.workers import WorkerNote, write_note
from tests.services.processes import wait_until

AT = 1_700_000_000.0
BUSY = "while True: pass"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[KnobStore]:
    engine = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield KnobStore(engine, clock)
    engine.dispose()


@pytest.fixture
def worker() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    yield process.pid
    process.kill()
    process.wait()


def target_of(run: Path, clock: ManualClock, store: KnobStore | None = None) -> ReplicasTarget:
    return ReplicasTarget(run, clock, None if store is None else ServingKnobs(store))


def test_it_tells_how_busy_real_workers_are(
    tmp_path: Path, clock: ManualClock, worker: int, store: KnobStore
) -> None:
    target = target_of(tmp_path, clock, store)
    write_note(tmp_path, WorkerNote(os.getpid(), 2, (worker,), (os.getpid(),)))
    first = {one.metric: one.value for one in target.observe(AT, 5.0).observations}
    assert first == {"workers": 1.0, "workers_wanted": 2.0, "workers_draining": 1.0}

    def busy() -> float:
        clock.advance(1000.0)
        looked = target.observe(AT, 5.0)
        return {one.metric: one.value for one in looked.observations}["worker_cpu_percent"]

    # On a clock of our own that runs far ahead, any time at all is above zero.
    wait_until(lambda: busy() > 0.0, 10, "the worker to use the processor")
    facts = target.observe(AT, 5.0).facts
    assert isinstance(facts, ReplicasFacts)
    assert (facts.written, facts.wanted, facts.running) == (None, 2, 1)
    assert facts.worker_mb is not None
    assert facts.worker_mb > 1.0
    assert facts.room.cores <= facts.room.host_cores


def test_without_a_predictor_there_is_nothing_and_a_dead_one_is_told(
    tmp_path: Path, clock: ManualClock, worker: int
) -> None:
    target = target_of(tmp_path, clock)
    assert list(target.observe(AT, 5.0).observations) == []
    write_note(tmp_path, WorkerNote(2**22 - 1, 1, (worker,)))
    with pytest.raises(UnavailableError, match="prime-spark up"):
        target.observe(AT, 5.0)


def test_the_knob_is_as_it_is_written_and_goes_back_to_never_written(
    tmp_path: Path, clock: ManualClock, store: KnobStore
) -> None:
    target = target_of(tmp_path, clock, store)
    assert target.read(KNOB) is None
    target.write(Change(KNOB, None, 3), FreeGuard())
    assert target.read(KNOB) == 3
    assert store.read("serving") == {"workers": 3.0}
    store.write("serving", "workers", 3, 5, "a person", "by hand")
    with pytest.raises(ConflictError):
        target.write(Change(KNOB, 3, None), FreeGuard())
    assert target.read(KNOB) == 5
    target.write(Change(KNOB, 5, None), FreeGuard())
    assert store.read("serving") == {}


@pytest.mark.parametrize("value", [0, 65, 1.5, "many", True])
def test_a_number_that_cannot_be_is_refused(
    tmp_path: Path, clock: ManualClock, store: KnobStore, value: float | str
) -> None:
    target = target_of(tmp_path, clock, store)
    with pytest.raises(InputError):
        target.write(Change(KNOB, None, value), FreeGuard())
    assert target.read(KNOB) is None


def test_it_keeps_the_promises_of_the_seam(
    tmp_path: Path, clock: ManualClock, store: KnobStore, worker: int
) -> None:
    write_note(tmp_path, WorkerNote(os.getpid(), 1, (worker,)))
    check_target(target_of(tmp_path, clock, store), others={KNOB: 2})
    check_target(target_of(tmp_path, clock))


def test_the_entry_point_needs_a_predictor_and_a_ledger_for_its_knob(
    tmp_path: Path, clock: ManualClock, store: KnobStore
) -> None:
    settings = Settings.model_validate({"home": tmp_path})
    addresses = {"predictor": "http://127.0.0.1:1"}
    assert make(PluginContext(settings, clock)) == []
    (watched,) = make(PluginContext(settings, clock, addresses))
    (turned,) = make(PluginContext(settings, clock, addresses, {EXTRA: store}))
    assert (watched.knobs(), turned.knobs()) == ((), (KNOB,))


def test_quotas_and_bounds_of_cgroups_are_seen(tmp_path: Path) -> None:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        folder = tmp_path / controllers / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text("50000 100000\n")
        (folder / "memory.max").write_text(f"{300 * 2**20}\n")
        (folder / "memory.current").write_text(f"{100 * 2**20}\n")
    room = room_of([os.getpid()], tmp_path)
    assert (room.cores, room.available_mb) == (0.5, 200.0)
    free = room_of([os.getpid()], tmp_path / "elsewhere")
    assert free.cores >= 1.0
    assert free.available_mb > 200.0
