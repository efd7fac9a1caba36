"""A real memory limit: who is born inside is held to it, and a kill is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.performance.memory_limit import memory_limit

_TAKES = "held = bytearray({mb} * 2**20); print(len(held))"


def _own_group() -> str:
    return Path("/proc/self/cgroup").read_text()


def _run(mb: int) -> int:
    return subprocess.run(
        [sys.executable, "-c", _TAKES.format(mb=mb)], capture_output=True, check=False
    ).returncode


def test_who_takes_more_is_killed_and_counted() -> None:
    home = _own_group()
    with memory_limit() as limit:
        if limit.folder is None:
            pytest.skip("this kernel, or its rights, give no cgroup of version 1 for memory")
        folder = limit.folder
        limit.set(48 * 2**20)
        with limit.inside():
            sleeper = subprocess.Popen(
                [sys.executable, "-c", "input(); " + _TAKES.format(mb=96)], stdin=subprocess.PIPE
            )
        assert _own_group() == home
        assert limit.kills() == 0
        sleeper.communicate(b"\n")
        assert sleeper.returncode < 0
        assert limit.kills() == 1
        assert limit.hits()
        assert _run(96) == 0, "who is outside is not held to it"
    assert not folder.exists()
