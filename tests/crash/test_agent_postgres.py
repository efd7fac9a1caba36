"""A small sample of the crash matrix with the ledger on PostgreSQL."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

import pytest

from registry.ledger.database import open_ledger
from tests.crash.agent_cases import CASES, violations
from tests.crash.agent_schedules import Exit, Fate, ended_as
from tests.crash.agent_world import AgentWorld
from tests.crash.toys import Case

pytestmark = [pytest.mark.crash, pytest.mark.postgres]

_PAIRS = next(case for case in CASES if case.name == "pairs: improved")
_EDITED = next(case for case in CASES if case.name == "pairs: edited after a switch")


@pytest.mark.parametrize(
    ("case", "kills"),
    [(_PAIRS, ("switch noted", "switch done")), (_PAIRS, (60, "judged")), (_EDITED, ("switched",))],
    ids=["at a switch", "in the middle and at the end", "edited"],
)
def test_a_killed_action_comes_to_its_end_on_postgres_too(
    postgres_url: str, tmp_path: Path, case: Case, kills: tuple[int | str, ...]
) -> None:
    first = AgentWorld(tmp_path, case, engine=open_ledger(postgres_url))
    first.propose()
    first.close()
    for attempt, point in enumerate(kills):
        assert ended_as(killed_at(postgres_url, tmp_path, case, attempt, point)) is Exit.KILLED
    for attempt in (10, 11):
        world = AgentWorld(tmp_path, case, attempt=attempt, engine=open_ledger(postgres_url))
        try:
            world.run(f"agent-{attempt}")
            found = violations(world)
        finally:
            world.close()
    assert found == []


def killed_at(url: str, folder: Path, case: Case, attempt: int, point: int | str) -> int:
    """Fork a process that works on the action until it comes to the point."""
    child = os.fork()
    if child:
        return child
    try:
        fate = Fate(point, signal.SIGKILL)
        engine = open_ledger(url)
        AgentWorld(folder, case, attempt=attempt, checkpoint=fate, engine=engine).run("mortal")
    except BaseException:  # noqa: BLE001 - the exit code tells the parent, the traceback a person
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(Exit.BROKEN)
