"""Closer looks before a cycle: taken once, kept while fresh; one that fails ends nothing."""

# ruff: noqa: ARG002 - the seams name their arguments

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from config.clock import ManualClock
from config.errors import UnavailableError
from config.ids import SeededIds
from config.loader import load_settings
from flows.context import Context
from flows.resident.looking import Look
from flows.resident.optimising import cycle
from flows.resident.studying import known_studies
from flows.resident.viewing import view_of
from flows.resident.world import AgentWorld
from optimizers.capability import Tools
from optimizers.plugins import Installed
from optimizers.view import View
from registry.agent_records import Finding, Proposal
from tests.services.agent_samples import SampleCapability, finding, numbered


class Thorough(SampleCapability):
    """Proposes only what its closer look has brought to light."""

    study_fresh_s = 600.0

    def __init__(self, look: Callable[[], JsonValue], takes_s: float, clock: ManualClock) -> None:
        super().__init__([numbered(1, type="cache_resize", target="serving")])
        self._look = look
        self._takes_s = takes_s
        self._clock = clock
        self.subjects = [""]
        self.budgets: list[float] = []

    def detect(self, view: View) -> Sequence[Finding]:
        return [replace(finding(at=view.at), id=f"f{name}", subject=name) for name in self.subjects]

    def study(self, found: Finding, view: View, tools: Tools, seconds: float) -> JsonValue | None:
        self.budgets.append(seconds)
        self._clock.advance(self._takes_s)
        return self._look()

    def propose(self, found: Finding, view: View) -> Sequence[Proposal]:
        known = view.study(self.type, found.subject, self.study_fresh_s)
        return self.proposals if known is not None and known.value == {"best": 8} else []


class Bench:
    """A world with one capability, and what its closer looks find."""

    def __init__(self, home: Path, clock: ManualClock, takes_s: float = 1.0) -> None:
        variables = {"PRIME_SPARK_HOME": str(home)}
        self.clock = clock
        self.finds: JsonValue | Exception = {"best": 8}
        self.world = AgentWorld(Context(load_settings(environ=variables), clock, SeededIds(1)))
        self.capability = Thorough(self._found, takes_s, clock)
        vars(self.world)["installed"] = Installed({}, {"cache_resize": self.capability}, {})

    def _found(self) -> JsonValue:
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds

    def cycle(self, *, study: bool = True) -> list[str]:
        """One cycle; return what has been proposed so far."""
        cycle(self.world, Look(self.world.now), study=study)
        return [one.proposal.advice_id for one in self.world.stores.actions.list()]


@pytest.fixture
def bench(tmp_path: Path, clock: ManualClock) -> Iterator[Bench]:
    made = Bench(tmp_path / "home", clock)
    yield made
    made.world.close()


def test_the_plan_has_what_the_closer_look_found(bench: Bench) -> None:
    assert bench.cycle(study=False) == [], "the resident agent does not study"
    assert bench.capability.budgets == []
    assert bench.cycle() == ["advice-1"]


def test_a_fresh_study_is_not_repeated_and_an_old_one_is(bench: Bench) -> None:
    bench.cycle()
    bench.clock.advance(300)
    bench.cycle()
    assert len(bench.capability.budgets) == 1
    assert view_of(bench.world, Look(bench.world.now)).study("cache_resize", "", 600.0) is not None
    bench.clock.advance(301)
    bench.cycle()
    assert len(bench.capability.budgets) == 2


@pytest.mark.parametrize(
    ("finds", "said"),
    [
        (UnavailableError("the cache is away; start it"), "the cache is away; start it"),
        (RuntimeError("a plugin's own mistake"), "RuntimeError: a plugin's own mistake"),
        (None, "no data"),
    ],
)
def test_a_look_that_fails_is_told_and_taken_again(
    bench: Bench, finds: JsonValue | Exception, said: str
) -> None:
    bench.finds = finds
    assert bench.cycle() == []
    (study,) = known_studies(bench.world).values()
    assert said in study.trouble
    bench.finds = {"best": 8}
    assert bench.cycle() == ["advice-1"]


def test_all_looks_of_a_cycle_share_its_time(tmp_path: Path, clock: ManualClock) -> None:
    bench = Bench(tmp_path / "home", clock, takes_s=40.0)
    bench.capability.subjects = ["a", "b", "c"]
    bench.cycle()
    assert bench.capability.budgets == [60.0, 20.0], "the third has to wait for the next cycle"
    bench.cycle()
    assert set(known_studies(bench.world)) == {("cache_resize", one) for one in "abc"}
    bench.world.close()


def test_one_that_failed_does_not_take_the_time_of_the_others_again(
    tmp_path: Path, clock: ManualClock
) -> None:
    bench = Bench(tmp_path / "home", clock, takes_s=60.0)
    bench.capability.subjects = ["a", "b"]
    bench.finds = UnavailableError("it was not done in time")
    bench.cycle(study=True)
    bench.finds = {"best": 8}
    bench.cycle(study=True)
    found = {subject: one.trouble for (_, subject), one in known_studies(bench.world).items()}
    assert found == {"a": "it was not done in time", "b": ""}
    bench.world.close()


def test_old_studies_are_let_go(bench: Bench) -> None:
    bench.cycle()
    bench.clock.advance(90_000)
    bench.capability.subjects = ["other"]
    bench.cycle()
    assert set(known_studies(bench.world)) == {("cache_resize", "other")}
