"""The namespaces that TCP is measured in are made, and always taken away again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.tcp_namespaces import (
    DEVICE,
    PREFIX,
    Scene,
    all_knobs,
    inside,
    sweep,
    two_namespaces,
)
from benchmarks.tcp_path import path_between
from tests.services.namespaces import namespaces_needed
from tests.services.processes import wait_until

ROOT = Path(__file__).parents[3]

_MAKER = """
import sys, time
from benchmarks.tcp_namespaces import two_namespaces
with two_namespaces("k"):
    print("made", flush=True)
    time.sleep(60)
"""


def names() -> set[str]:
    return {one.name for one in Path("/run/netns").glob(f"{PREFIX}*")}


def test_both_begin_with_the_congestion_control_and_reach_each_other(tcp_scene: Scene) -> None:
    for namespace in (tcp_scene.sender, tcp_scene.receiver):
        assert all_knobs(namespace)["ipv4.tcp_congestion_control"] == b"cubic\n"
        assert "UP" in inside(namespace, "ip", "-br", "link", "show", DEVICE)


def test_they_are_gone_afterwards() -> None:
    namespaces_needed()
    with two_namespaces("x") as made:
        assert {made.sender, made.receiver} <= names()
    assert not {made.sender, made.receiver} & names()


def test_those_of_a_killed_run_are_swept_and_those_of_a_living_one_stay(tcp_scene: Scene) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _MAKER], stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"made\n"
    left = {f"{PREFIX}{process.pid}ka", f"{PREFIX}{process.pid}kb"}
    assert left <= names()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    sweep()
    assert not left & names()
    assert {tcp_scene.sender, tcp_scene.receiver} <= names()


def test_a_path_delays_and_ends_with_its_process(tcp_scene: Scene) -> None:
    with path_between(tcp_scene, delay_ms=15, mbit=50) as address:
        told = inside(tcp_scene.sender, "ip", "-br", "addr", "show", "path0")
        assert "10.78.0.1" in told
        script = (
            "import socket,time\n"
            f"begun=time.monotonic()\ntry: socket.create_connection(('{address}',9),5)\n"
            "except ConnectionRefusedError: print(time.monotonic()-begun)"
        )
        refused_after = float(inside(tcp_scene.sender, sys.executable, "-c", script))
        assert refused_after >= 0.03

    def gone() -> bool:
        return "path0" not in inside(tcp_scene.sender, "ip", "-br", "link")

    wait_until(gone, 5.0, "the path's device to go")
