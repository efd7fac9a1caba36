"""What happens to processes when the one that started them dies without a word."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from flows.up.sweep import new_up_id
from tests.unit.flows.up.processes import SLEEPER, end, eventually, first_line, is_gone, start

_LAUNCHING = (
    "import os, subprocess, sys, time\n"
    "command = [sys.executable, '-m', 'flows.up.launch', str(os.getpid()), sys.executable, '-c',"
    " 'import time; print(1, flush=True); time.sleep(600)']\n"
    "child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)\n"
    "child.stdout.readline()\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)\n"
)


def test_what_is_launched_dies_with_its_parent() -> None:
    parent = start(_LAUNCHING, None)
    child = int(first_line(parent))
    assert not is_gone(child)
    parent.send_signal(signal.SIGKILL)
    end(parent)
    assert eventually(lambda: is_gone(child))


def test_a_parent_already_dead_is_noticed() -> None:
    command = [sys.executable, "-m", "flows.up.launch", "1", sys.executable, "-c", "print('ran')"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_the_watchdog_sweeps_when_its_pipe_ends(tmp_path: Path) -> None:
    up_id = new_up_id(tmp_path)
    sleeper = start(SLEEPER, up_id)
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "flows.up.watchdog", up_id], stdin=subprocess.PIPE
    )
    try:
        assert watchdog.poll() is None
        assert sleeper.poll() is None
        watchdog.communicate(timeout=30)
        assert sleeper.wait(10) == -signal.SIGTERM
        assert watchdog.returncode == 0
    finally:
        end(sleeper)
        watchdog.kill()


def test_the_watchdog_is_small() -> None:
    code = (
        "import sys, flows.up.watchdog\n"
        "print([n for n in ('pydantic', 'rich', 'typer', 'yaml') if n in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
