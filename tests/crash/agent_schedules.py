"""Runs an action in processes that are killed, or stopped for a while, at chosen points.

A child process is forked for each; it counts the points it passes (`AgentWorld.checkpoint`) and
dies, or stops, at the n-th. The next process comes after the lease of the one before.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import pytest

from config.errors import ConflictError, LedgerUnavailable
from registry import agent_actions
from registry.ledger import database
from tests.crash.agent_cases import violations
from tests.crash.agent_world import AgentWorld, NeverEnds, ledger_of
from tests.crash.toys import Case

# A RAM disk where there is one: what a killed process has written survives it all the same.
_SHM = Path("/dev/shm")
_PLACE = str(_SHM) if os.access(_SHM, os.W_OK) else None
# A stopped process keeps its locks; whoever comes meanwhile should not wait for them for long.
SHORT_WAIT_S = 0.02


class Exit(IntEnum):
    """How a process ended."""

    DONE = 0
    BROKEN = 1
    BUSY = 4
    NO_LEDGER = 5
    KILLED = -int(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Schedule:
    """An action whose processes are killed one after the other.

    Attributes:
        kills: for each process the number of the point, or the name of which the first is meant.
    """

    case: Case
    kills: tuple[int | str, ...] = ()

    def __str__(self) -> str:
        return f"{self.case.name}, killed at {', '.join(map(str, self.kills)) or 'no point'}"


class Bench:
    """A place for many worlds, each begun from the same prepared one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._points: dict[str, tuple[str, ...]] = {}

    def points(self, case: Case) -> tuple[str, ...]:
        """The points that the case passes when nobody is killed, which ends as it should."""
        if case.name not in self._points:
            passed: list[str] = []
            with self.world(case) as place:
                world = AgentWorld(place, case, checkpoint=passed.append)
                world.run("undisturbed")
                found = violations(world)
                world.close()
            assert not found, f"{case.name}, undisturbed: {found}"
            self._points[case.name] = tuple(passed)
        return self._points[case.name]

    @contextmanager
    def world(self, case: Case) -> Iterator[Path]:
        """A folder with the case's action scheduled in it, gone afterwards."""
        template = self._folder / f"template {case.name}"
        if not template.exists():
            shutil.copytree(self._empty(), template)
            world = AgentWorld(template, case)
            world.propose()
            world.close()
        self._count += 1
        place = self._folder / str(self._count)
        shutil.copytree(template, place)
        try:
            yield place
        finally:
            shutil.rmtree(place)

    def _empty(self) -> Path:
        empty = self._folder / "empty"
        if not empty.exists():
            empty.mkdir()
            ledger_of(empty).dispose()
        return empty

    def kill(self, schedule: Schedule) -> list[str]:
        """Run a schedule, then two ticks more; return what is wrong with the world then."""
        case = schedule.case
        with self.world(case) as place:
            for attempt, point in enumerate(schedule.kills):
                ended = ended_as(start(place, case, attempt, Fate(point, signal.SIGKILL)))
                if ended not in {Exit.KILLED, Exit.DONE}:
                    return [f"{schedule}: process {attempt} ended {ended!r}"]
            return [f"{schedule}: {one}" for one in after_two_ticks(place, case)]

    def stop(self, case: Case, point: int, kill: int | str = 0) -> list[str]:
        """Stop a process at a point, let a second one take over, and let the first go on again.

        The second one is killed at its `kill`-th point, or the first of that name; never at 0.
        """
        with self.world(case) as place:
            first = start(place, case, 0, Fate(point, signal.SIGSTOP))
            _, status = os.waitpid(first, os.WUNTRACED)
            ends = [ended_as(start(place, case, 1, Fate(kill, signal.SIGKILL)))]
            if os.WIFSTOPPED(status):
                os.kill(first, signal.SIGCONT)
                ends.append(ended_as(first))
            found = ["a process broke"] if Exit.BROKEN in ends else []
            found += after_two_ticks(place, case)
        return [f"{case.name}, stopped at {point}, killed at {kill}: {one}" for one in found]


@dataclass
class Fate:
    """What happens to a process at its n-th point, or the first of a name; nothing at 0."""

    at: int | str
    by: signal.Signals

    def __call__(self, point: str) -> None:
        if isinstance(self.at, int):
            self.at -= 1
        if self.at in {0, point}:
            os.kill(os.getpid(), self.by)
            self.at = -1


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench in a folder of its own, where locks are not waited for."""
    folder = Path(tempfile.mkdtemp(prefix="prime-spark-crash-", dir=_PLACE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_actions, "_EFFECT_WAIT_S", SHORT_WAIT_S)
        patch.setattr(database, "_BUSY_TIMEOUT_S", SHORT_WAIT_S)
        logging.disable(logging.CRITICAL)
        try:
            yield Bench(folder)
        finally:
            logging.disable(logging.NOTSET)
            shutil.rmtree(folder)


def after_two_ticks(place: Path, case: Case) -> list[str]:
    """Let two more processes have a go, undisturbed, and look at the world."""
    for attempt in (10, 11):
        world = AgentWorld(place, case, attempt=attempt)
        try:
            world.run(f"agent-{attempt}")
            if attempt == 11:
                return violations(world)
        except (ConflictError, LedgerUnavailable, NeverEnds) as error:
            return [f"tick {attempt} met {error!r}"]
        finally:
            world.close()
    return []


def start(place: Path, case: Case, attempt: int, fate: Fate) -> int:
    """Fork a process that works on the action until it ends or meets its fate."""
    child = os.fork()
    if child:
        return child
    code = Exit.BROKEN
    try:
        AgentWorld(place, case, attempt=attempt, checkpoint=fate).run(f"agent-{attempt}")
        code = Exit.DONE
    except ConflictError:
        code = Exit.BUSY
    except LedgerUnavailable:
        code = Exit.NO_LEDGER
    except BaseException:  # noqa: BLE001 - the exit code tells the parent, the traceback a person
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def ended_as(child: int) -> Exit:
    """Wait for a process and say how it ended."""
    _, status = os.waitpid(child, 0)
    return Exit(os.waitstatus_to_exitcode(status))
