from __future__ import annotations

from pathlib import Path

import pytest

from flows.up.sweep import home_mark, marked_with, new_up_id, sweep
from tests.unit.flows.up.processes import (
    NESTED,
    SLEEPER,
    STUBBORN,
    end,
    eventually,
    first_line,
    is_gone,
    start,
)


@pytest.fixture
def up_id(tmp_path: Path) -> str:
    return new_up_id(tmp_path)


def test_grandchildren_in_sessions_of_their_own_are_swept(up_id: str) -> None:
    parent = start(NESTED, up_id)
    grandchild = int(first_line(parent))
    try:
        assert sweep(up_id) == 2
        assert eventually(lambda: is_gone(grandchild))
        assert parent.wait(5) != 0
    finally:
        end(parent)


def test_a_process_that_ignores_term_is_killed(up_id: str) -> None:
    stubborn = start(STUBBORN, up_id)
    try:
        assert first_line(stubborn) == "ready"
        assert sweep(up_id, term_grace_s=0.2) == 1
        assert stubborn.wait(5) == -9
    finally:
        end(stubborn)


def test_other_runs_other_homes_and_unmarked_processes_live_on(tmp_path: Path, up_id: str) -> None:
    others = [start(SLEEPER, None), start(SLEEPER, new_up_id(tmp_path / "other"))]
    ours = start(SLEEPER, up_id)
    try:
        assert eventually(lambda: ours.pid in marked_with(up_id))
        assert sweep(home_mark(tmp_path)) == 1
        assert [other.poll() for other in others] == [None, None]
    finally:
        for process in (*others, ours):
            end(process)


def test_all_runs_of_a_home_share_its_mark_however_the_home_is_written(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "home")
    assert new_up_id(link).startswith(home_mark(tmp_path / "home"))
    assert home_mark(tmp_path / "home") != home_mark(tmp_path)
    assert new_up_id(link) != new_up_id(link)


def test_nothing_to_sweep_takes_no_time(up_id: str) -> None:
    assert sweep(up_id) == 0
