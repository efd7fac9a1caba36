"""Programs for child processes that work on a network target: without permission, or killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Everything is imported, the late imports by a first look, before it becomes nobody: who need not
# be able to read what is installed.
ADVICE = """
import json, os
from config.clock import SystemClock, epoch
from config.errors import InputError
from config.settings import Settings
from optimizers.performance.tcp_tuning import TcpTuning
from optimizers.targets.network import NetworkTarget
from optimizers.targets.network_knobs import RMEM
from optimizers.testing.guards import FreeGuard
from optimizers.view import View
from registry.agent_records import Change, Observation

target = NetworkTarget(SystemClock(), 50.0)
target.observe(90.0, 5.0)
target.read(RMEM)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
facts = target.observe(100.0, 5.0).facts
try:
    value = target.read(RMEM)
    target.write(Change(RMEM, value, "4096\\t16384\\t7000000"), FreeGuard())
    refusal = ""
except InputError as error:
    refusal = str(error)
seen = [Observation("network", "receive_limited_share", 0.9, at) for at in (40.0, 70.0, 100.0)]
history = {("network", "receive_limited_share"): seen}
view = View(at=100.0, history=history, facts={"network": facts})
capability = TcpTuning(Settings())
[finding] = capability.detect(view)
print(json.dumps({
    "writable": facts.writable, "kept": target.read(RMEM) == value, "refusal": refusal,
    "finding": finding.text, "proposals": len(capability.propose(finding, view)),
}))
"""

KILLED = """
import os, signal, sys
from config.clock import SystemClock
from optimizers.targets.network import NetworkTarget
from registry.agent_records import Change

class Killing:
    def check(self):
        if sys.argv[2] == "before":
            os.kill(os.getpid(), signal.SIGKILL)

target = NetworkTarget(SystemClock(), 50.0, sys.argv[1])
target.write(Change(*sys.argv[3:6]), Killing())
os.kill(os.getpid(), signal.SIGKILL)
"""


CROWDED = """
import socket, sys
server = socket.create_server(("127.0.0.1", 7001), backlog=100)
waiting = [socket.socket() for _ in range(20)]
for one in waiting:
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", 7001))
print("crowded", flush=True)
sys.stdin.read()
"""

BESIEGED = """
import select, socket, sys
server = socket.create_server(("127.0.0.1", 7001), backlog=100)
waiting = []
print("crowded", flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", 7001))
    waiting = [*waiting[-40:], one]
"""


@contextmanager
def crowded_listener(namespace: str, program: str = CROWDED) -> Iterator[None]:
    """A server in a namespace that answers nobody, until the block ends.

    Twenty connections wait at it; or, with `BESIEGED`, twenty more come every second.
    """
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", program]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"crowded\n"
        yield
    finally:
        process.communicate()


def advice_without_permission(namespace: str) -> dict[str, object]:
    """What target and capability come to for a user who may change nothing."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", ADVICE]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=_bare(), cwd=ROOT
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def killed_while_writing(namespace: str, when: str, knob: str, before: str, after: str) -> int:
    """Change a knob in a process that is killed before the write, or right after it."""
    command = [sys.executable, "-c", KILLED, namespace, when, knob, before, after]
    return subprocess.run(command, check=False, timeout=60, env=_bare(), cwd=ROOT).returncode


def _bare() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
