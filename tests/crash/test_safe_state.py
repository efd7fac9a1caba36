"""Wherever the kill switch finds an action, the world is safe within two polls: a second.

By default the first point of each name and every seventh one are tried; with CRASH_MATRIX=full all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from optimizers.execution_desk import ActionDesk
from registry.agent_records import ActionState
from tests.crash.agent_cases import CASES
from tests.crash.agent_schedules import Bench, bench
from tests.crash.agent_world import AgentWorld
from tests.crash.toys import AFTER, BEFORE, Case

pytestmark = pytest.mark.crash

_STEP = 1 if os.environ.get("CRASH_MATRIX") == "full" else 7
_MOST_POLLS = 2
_CASES = [
    case for case in CASES if case.name in {"atomic: improved", "pairs: improved", "job: hangs"}
]


@pytest.fixture(scope="module")
def place() -> Iterator[Bench]:
    with bench() as found:
        yield found


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_a_pause_leads_to_the_safe_state_within_two_polls(place: Bench, case: Case) -> None:
    points = place.points(case)
    # Within a commit nobody else can write to the ledger: that pause comes right after it.
    first = {points.index(name) + 1 for name in points}
    tried = sorted({*first, *range(1, len(points) + 1, _STEP)})
    tried = [at for at in tried if points[at - 1] != "commit"]
    found = {f"{points[at - 1]} ({at})": paused_at(place, case, at) for at in tried}
    assert {point: wrong for point, wrong in found.items() if wrong} == {}


def paused_at(place: Bench, case: Case, at: int) -> str:
    """What is wrong when the agent is paused at the n-th point of the action."""
    with place.world(case) as folder:
        pausing = Pausing(at)
        world = Patient(folder, case, checkpoint=pausing)
        pausing.world = world
        try:
            action = world.run("me")
            if pausing.polls > _MOST_POLLS:
                return f"it took {pausing.polls} polls"
            return "" if is_safe(world, action.state) else f"it is {action.state}"
        finally:
            world.close()


def is_safe(world: AgentWorld, state: ActionState) -> bool:
    """Nothing is under way, and only what was known to help has been kept."""
    if world.case.is_job:
        did = [line["did"] for line in world.jobs.journal.lines()]
        return did in ([], ["start", "cancel"]) and not state.in_flight
    kept = AFTER if state is ActionState.COMPLETED else BEFORE
    return world.knobs.value() == kept and not state.in_flight


class Patient(AgentWorld):
    """Waits as long between two attempts at what failed as by default: ten polls."""

    def desk(self) -> ActionDesk:
        made = super().desk()
        return replace(made, retry_s=10.0 * made.poll_s)


class Pausing:
    """Turns the kill switch at the n-th point, and counts the polls after it."""

    def __init__(self, at: int) -> None:
        self.world: AgentWorld | None = None
        self.polls = 0
        self._left = at
        self._since = 0.0

    def __call__(self, _point: str) -> None:
        self._left -= 1
        assert self.world is not None
        if self._left == 0:
            self.world.control.pause("a person", "to see")
            self._since = self.world.clock.monotonic()
        if self._left <= 0:
            waited = self.world.clock.monotonic() - self._since
            self.polls = round(waited / self.world.desk().poll_s)
