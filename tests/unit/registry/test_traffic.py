"""Recorded traffic: what readers get of what workers keep, whatever became of the files."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.traffic import (
    BUFFERED,
    MOST_INPUTS,
    RECORD,
    TrafficRing,
    forget_inputs,
    read_inputs,
    read_traffic,
    tidy,
    write_input,
)

MODEL, WORKER = "digits", "worker-1"


def filled(folder: Path, entries: int, requests: int, worker: str = WORKER) -> TrafficRing:
    ring = TrafficRing(folder, MODEL, worker, entries)
    for number in range(requests):
        ring.add(1000.0 + number, 2**64 - 1 - number, 1 + number % 7, 3)
    ring.flush()
    return ring


def test_what_was_recorded_is_read_oldest_first(tmp_path: Path) -> None:
    filled(tmp_path / "traffic", 100, 5)
    [(worker, records)] = read_traffic(tmp_path / "traffic", MODEL).items()
    assert (worker, records.dtype) == (WORKER, RECORD)
    assert records["at"].tolist() == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    assert records["key"].tolist() == [2**64 - 1 - number for number in range(5)]
    assert records["rows"].tolist() == [1, 2, 3, 4, 5]
    assert set(records["version"].tolist()) == {3}
    assert read_traffic(tmp_path / "traffic", "another") == {}
    assert read_traffic(tmp_path / "nowhere", MODEL) == {}


@given(entries=st.integers(1, 3000), requests=st.integers(0, 9000), chunk=st.integers(1, 2000))
def test_of_many_requests_the_latest_are_kept(
    tmp_path_factory: pytest.TempPathFactory, entries: int, requests: int, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("traffic")
    ring = TrafficRing(folder, MODEL, WORKER, entries)
    for number in range(requests):
        ring.add(1000.0 + number, 0, 1, 1)
        if number % chunk == 0:
            ring.flush()
    ring.flush()
    at = read_traffic(folder, MODEL)[WORKER]["at"].tolist()
    ring.close()
    kept = min(entries, requests)
    assert at == [1000.0 + number for number in range(requests - kept, requests)]


def test_a_reader_sees_whole_requests_in_order_while_they_are_written(tmp_path: Path) -> None:
    ring = filled(tmp_path, 4 * BUFFERED, 1)
    done = threading.Event()

    def write() -> None:
        number = 1
        while not done.is_set():
            ring.add(1000.0 + number, number, 1 + number % 5, number % 3)
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(200):
            records = read_traffic(tmp_path, MODEL)[WORKER]
            numbers = (records["at"] - 1000.0).astype(np.uint64)
            assert (np.diff(records["at"]) == 1.0).all()
            if len(records) and numbers[0] > 0:
                assert (records["key"] == numbers).all()
                assert (records["rows"] == 1 + numbers % 5).all()
    finally:
        done.set()
        thread.join()


def test_files_are_sparse_and_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "traffic"
    ring = filled(folder, 2**18, 10)
    write_input(folder, MODEL, WORKER, 0, {"X": np.zeros(3)})
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    [file] = folder.glob("*.ring")
    assert file.stat().st_size > 2**18 * RECORD.itemsize
    assert file.stat().st_blocks * 512 < 200_000
    ring.close()
    assert list(folder.glob("*.ring")) == []


@pytest.mark.parametrize("kept", [0, 10, 4095, 4096, 4096 + 24, 4096 + 60])
def test_a_truncated_file_gives_what_is_left_or_nothing(tmp_path: Path, kept: int) -> None:
    filled(tmp_path, 100, 5)
    [file] = tmp_path.glob("*.ring")
    os.truncate(file, kept)
    found = read_traffic(tmp_path, MODEL)
    whole = max(0, kept - 4096) // 24
    assert [len(records) for records in found.values()] in ([], [whole])


@pytest.mark.parametrize(
    "head", [b"PSTRAFF9", b"\xff" * 4096, b"PSTRAFF1" + b"\xff" * 16, b"PSTRAFF1\x00\x08\x00\x00"]
)
def test_a_file_of_another_kind_is_left_out(tmp_path: Path, head: bytes) -> None:
    filled(tmp_path, 100, 5)
    filled(tmp_path, 100, 5, "worker-2")
    file = sorted(tmp_path.glob("*.ring"))[0]
    with file.open("r+b") as stream:
        stream.write(head)
    assert len(read_traffic(tmp_path, MODEL)) <= 2
    file.write_bytes(b"")
    assert len(read_traffic(tmp_path, MODEL)) == 1


def test_a_disk_that_takes_no_more_costs_records_and_no_request(tmp_path: Path) -> None:
    ring = TrafficRing(tmp_path, MODEL, WORKER, 2**18)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        for number in range(3 * BUFFERED):
            ring.add(float(number), 0, 1, 1)
        assert ring.trouble is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ring.add(5000.0, 0, 1, 1)
    ring.flush()
    assert ring.trouble is None
    assert read_traffic(tmp_path, MODEL)[WORKER]["at"].tolist() == [5000.0]


def test_what_comes_after_the_end_goes_to_no_other_file(tmp_path: Path) -> None:
    ring = filled(tmp_path, 100, 1)
    ring.close()
    with ExitStack() as stack:  # one of them gets the descriptor that is free again
        others = [tmp_path / str(number) for number in range(10)]
        for path in others:
            stack.enter_context(path.open("wb+"))
        for number in range(2 * BUFFERED):
            ring.add(float(number), 0, 1, 1)
    assert {path.stat().st_size for path in others} == {0}
    assert ring.trouble is not None


def test_inputs_come_back_as_they_were(tmp_path: Path) -> None:
    filled(tmp_path, 100, 1)
    first = {"X": np.arange(6, dtype=np.float32).reshape(2, 3), "words/é": np.array(["ä", ""], "O")}
    for slot in range(MOST_INPUTS + 3):
        write_input(tmp_path, MODEL, WORKER, slot, first)
    found = read_inputs(tmp_path, MODEL)
    assert len(found) == MOST_INPUTS
    assert list(found[0]) == list(first)
    assert found[0]["X"].dtype == np.float32
    assert (found[0]["X"] == first["X"]).all()
    assert found[0]["words/é"].dtype == object
    assert found[0]["words/é"].tolist() == ["ä", ""]
    sorted(tmp_path.glob("*.npz"))[0].write_bytes(b"PK\x03\x04 broken")
    assert len(read_inputs(tmp_path, MODEL)) == MOST_INPUTS - 1
    forget_inputs(tmp_path, MODEL, WORKER)
    assert read_inputs(tmp_path, MODEL) == []
    assert len(read_traffic(tmp_path, MODEL)) == 1


def test_files_of_dead_workers_are_tidied_up_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    ring = filled(tmp_path, 100, 1)
    write_input(tmp_path, MODEL, WORKER, 0, {"X": np.zeros(1)})
    script = (
        "import sys, pathlib, signal, os; from registry.traffic import *;"
        "folder = pathlib.Path(sys.argv[1]); ring = TrafficRing(folder, 'digits', 'dead', 100);"
        "ring.add(1.0, 0, 1, 1); ring.flush(); print('ready', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            write_input(tmp_path, MODEL, "dead", 0, {"X": np.zeros(1)})
            tidy(tmp_path)
            assert set(read_traffic(tmp_path, MODEL)) == {WORKER, "dead"}
        finally:
            process.kill()
    tidy(tmp_path)
    assert set(read_traffic(tmp_path, MODEL)) == {WORKER}
    assert len(read_inputs(tmp_path, MODEL)) == 1
    ring.close()
    tidy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    tidy(tmp_path / "nowhere")
