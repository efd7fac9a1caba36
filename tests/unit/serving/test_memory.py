"""How much memory there is, on trees of files as kernels write them, and on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serving.memory import MemoryFiles, available_bytes, drop_cached, own_bytes, trim_heap

MB = 2**20


def written(folder: Path, files: dict[str, str]) -> MemoryFiles:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return MemoryFiles(folder / "proc", folder / "cgroup")


MACHINE = {"proc/meminfo": "MemTotal: 2048000 kB\nMemAvailable:   1024000 kB\n"}
V2 = {
    "proc/self/cgroup": "0::/shop/predictor\n",
    "cgroup/cgroup.controllers": "memory cpu\n",
    "cgroup/shop/memory.max": f"{500 * MB}\n",
    "cgroup/shop/memory.current": f"{450 * MB}\n",
    "cgroup/shop/memory.stat": f"anon 1\nactive_file {20 * MB}\ninactive_file {5 * MB}\n",
    "cgroup/shop/predictor/memory.max": "max\n",
    "cgroup/shop/predictor/memory.current": f"{400 * MB}\n",
}
V1 = {
    "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/shop\n0::/\n",
    "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "cgroup/memory/memory.usage_in_bytes": "1\n",
    "cgroup/memory/shop/memory.limit_in_bytes": f"{100 * MB}\n",
    "cgroup/memory/shop/memory.usage_in_bytes": f"{130 * MB}\n",
    "cgroup/memory/shop/memory.stat": f"inactive_file 1\ntotal_inactive_file {40 * MB}\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (MACHINE, 1000 * MB),
        (MACHINE | V2, 65 * MB),
        (MACHINE | V1, 10 * MB),
        (V1, 10 * MB),
        (MACHINE | {"proc/self/cgroup": "garbage\n\n4:memory:/../../etc\n0::/gone\n"}, 1000 * MB),
        ({"proc/meminfo": "MemAvailable: lots kB\n"}, None),
    ],
)
def test_the_narrowest_limit_counts(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    assert available_bytes(written(tmp_path, files)) == expected


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    full = {"cgroup/memory/shop/memory.stat": ""}
    assert available_bytes(written(tmp_path, MACHINE | V1 | full)) == 0


def test_this_machine_has_some_and_this_process_takes_some() -> None:
    available = available_bytes(MemoryFiles())
    assert available is not None
    assert available > MB
    before = own_bytes(MemoryFiles())
    block = np.ones(40 * MB, np.uint8)
    after = own_bytes(MemoryFiles())
    if before is None or after is None:
        pytest.skip("this kernel has no smaps_rollup")
    assert 30 * MB < after - before < 60 * MB
    del block


def test_freed_memory_goes_back_to_the_system() -> None:
    script = """
from serving.memory import MemoryFiles, own_bytes, trim_heap
small = [bytes(1000 + number % 2) for number in range(60_000)]
last = bytes(1000)
full = own_bytes(MemoryFiles())
del small
trimmed = trim_heap()
print(trimmed, (full - own_bytes(MemoryFiles())) // 2**20)
"""
    command = [sys.executable, "-c", script]
    # Above 512 bytes objects come from the C library's heap, which keeps what lies below others.
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if printed[0] != "True":
        pytest.skip("this C library has no malloc_trim")
    assert int(printed[1]) >= 40


def test_forgetting_cached_pages_leaves_files_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    content = os.urandom(MB)
    with file.open("wb") as stream:
        stream.write(content)
        os.fsync(stream.fileno())  # what is not on the disk yet cannot be forgotten
    known = _cached(file)
    drop_cached([file, tmp_path / "gone", tmp_path])
    forgotten = not _cached(file)
    assert file.read_bytes() == content
    if not known:
        pytest.skip("this file system does not tell what of a file is in memory")
    assert forgotten


def _cached(file: Path) -> bool:
    """Whether a file's pages are in memory; False too where that cannot be told."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(MB)], 0, os.RWF_NOWAIT) == MB
    except OSError:
        return False
    finally:
        os.close(descriptor)


def test_heaps_are_trimmed_or_said_to_stay() -> None:
    assert trim_heap() in {True, False}
