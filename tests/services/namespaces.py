"""Real network namespaces for the tests: a sender's and a receiver's, joined with each other."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks.tcp_namespaces import Scene, missing, two_namespaces
from tests.services.processes import needed


def namespaces_needed() -> None:
    """Skip the test where no namespaces can be made; on CI only a kernel without them may skip."""
    for program in ("ip", "ss", "nft"):
        needed(program, "/usr/sbin", "/sbin")
    reason = missing()
    if reason and os.environ.get("CI") == "true" and os.geteuid() != 0:
        pytest.fail(f"{reason}, and CI has to run every test")
    if reason:
        pytest.skip(reason)


@pytest.fixture
def tcp_scene() -> Iterator[Scene]:
    """Two namespaces with cubic, joined by a veth pair."""
    namespaces_needed()
    with two_namespaces() as made:
        yield made
