"""kill -9 and SIGSTOP at the points of an action's life: nothing lost, nothing done twice.

Each case of `agent_cases` is killed once and twice, and stopped while another agent takes over. By
default a sample of the points is tried; with CRASH_MATRIX=full (`make crash`) every single one of
them, more than 2,000 pairs, and takeovers at every point.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from itertools import chain, product

import pytest

from tests.crash.agent_cases import CASES
from tests.crash.agent_mutants import MUTANTS, Mutant, is_found
from tests.crash.agent_schedules import Bench, Schedule, bench
from tests.crash.pair_mutants import PAIR_MUTANTS
from tests.crash.toys import Case

pytestmark = pytest.mark.crash

_FULL = os.environ.get("CRASH_MATRIX") == "full"
_PAIRS = 45 if _FULL else 1
_TAKEOVERS = 15 if _FULL else 1
# A sample takes every third case for what is tried in more than one way.
_THIN = 1 if _FULL else 3


def cases(offset: int, step: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES[offset::step], ids=lambda case: case.name)


@pytest.fixture(scope="module")
def place() -> Iterator[Bench]:
    with bench() as found:
        yield found


def points(place: Bench, case: Case) -> list[int]:
    """The points to try of a case: all of them, or one, which differs from case to case."""
    every = range(1, len(place.points(case)) + 1)
    return list(every) if _FULL else [random.Random(case.name).choice(every)]


def pairs(place: Bench, case: Case, number: int) -> list[tuple[int, int]]:
    """Some different pairs of points of a case."""
    every = range(1, len(place.points(case)) + 1)
    found = list(product(every, every))
    # An action that is over with being recorded has few points, and fewer pairs than are asked for.
    return random.Random(case.name).sample(found, min(number, len(found)))


def all_of(found: Iterable[list[str]]) -> list[str]:
    return list(chain.from_iterable(found))


@cases(0, 1)
def test_an_action_killed_at_a_point_comes_to_the_same_end(place: Bench, case: Case) -> None:
    assert all_of(place.kill(Schedule(case, (one,))) for one in points(place, case)) == []


@cases(0, _THIN)
def test_an_action_killed_twice_comes_to_the_same_end(place: Bench, case: Case) -> None:
    assert all_of(place.kill(Schedule(case, two)) for two in pairs(place, case, _PAIRS)) == []


@cases(1 % _THIN, _THIN)
def test_an_agent_stopped_at_a_point_harms_nothing_when_it_goes_on(
    place: Bench, case: Case
) -> None:
    assert all_of(place.stop(case, one) for one in points(place, case)) == []


@cases(2 % _THIN, _THIN)
def test_nor_does_it_when_its_successor_is_killed(place: Bench, case: Case) -> None:
    assert all_of(place.stop(case, *two) for two in pairs(place, case, _TAKEOVERS)) == []


@pytest.mark.parametrize("mutant", [*MUTANTS, *PAIR_MUTANTS], ids=lambda mutant: mutant.name)
def test_each_guard_that_is_taken_out_is_missed(mutant: Mutant) -> None:
    assert is_found(mutant, tries=300)


def test_with_all_guards_in_place_nothing_is_found() -> None:
    text = "found.token + 1"
    same = Mutant(
        "nothing",
        "registry.agent_actions",
        text,
        text,
        ("job: done", "plain: worse", "pairs: worse"),
    )
    assert not is_found(same, tries=15)
