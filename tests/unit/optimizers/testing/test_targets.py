"""The kit for targets accepts a good one and names what is wrong with each bad one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from config.clock import ManualClock
from config.errors import ConflictError, InputError
from optimizers.targets.base import Guard, Observed
from optimizers.targets.host import HostTarget
from optimizers.testing import check_target
from registry.agent_records import Change, Observation


@dataclass
class Box:
    """A target that keeps its promises: one knob, held in memory."""

    name: str = "box"
    values: dict[str, JsonValue] = field(default_factory=lambda: {"box.size": 3})

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        labels = (("model", "digits"), ("version", "3"))
        return Observed([Observation(self.name, "size", 3.0, at, labels=labels)])

    def knobs(self) -> Sequence[str]:
        return tuple(self.values)

    def read(self, knob: str) -> JsonValue:
        if knob not in self.values:
            raise InputError(f"box has no knob {knob}")
        return self.values[knob]

    def write(self, change: Change, guard: Guard) -> None:
        present = self.read(change.knob)
        if present == change.after:
            guard.check()
            return
        if present != change.before:
            raise ConflictError(f"{change.knob} is {present}")
        guard.check()
        self.values[change.knob] = change.after


def check(target: Box) -> None:
    check_target(target, others={"box.size": 5})


def test_a_good_target_passes_and_is_left_as_it_was() -> None:
    box = Box()
    check(box)
    assert box.values == {"box.size": 3}


def test_a_target_that_only_observes_passes() -> None:
    check_target(HostTarget(ManualClock(datetime(2026, 1, 1, tzinfo=UTC))))


class NoGuard(Box):
    def write(self, change: Change, guard: Guard) -> None:  # noqa: ARG002
        if self.read(change.knob) not in (change.before, change.after):
            raise ConflictError("other")
        self.values[change.knob] = change.after


class GuardTooLate(Box):
    def write(self, change: Change, guard: Guard) -> None:
        if self.read(change.knob) not in (change.before, change.after):
            raise ConflictError("other")
        self.values[change.knob] = change.after
        guard.check()


class NoComparison(Box):
    def write(self, change: Change, guard: Guard) -> None:
        self.read(change.knob)
        guard.check()
        self.values[change.knob] = change.after


class NotRepeatable(Box):
    def write(self, change: Change, guard: Guard) -> None:
        if self.read(change.knob) == change.after:
            raise ConflictError("it has that value already")
        super().write(change, guard)


class Rounds(Box):
    def read(self, knob: str) -> JsonValue:
        value = super().read(knob)
        return float(value) if value == 5 else value


class SwallowsUnknown(Box):
    def read(self, knob: str) -> JsonValue:
        return self.values.get(knob, 0)


class Meddles(Box):
    def observe(self, at: float, timeout_s: float) -> Observed:
        self.values["box.size"] = 4
        return super().observe(at, timeout_s)


def observing(**parts: object) -> Callable[[], Box]:
    class Odd(Box):
        def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
            fields: dict[str, object] = {"target": "box", "metric": "size", "value": 3.0, "at": at}
            one = Observation(**(fields | parts))  # type: ignore[arg-type]
            return Observed([one, one] if parts == {} else [one])

    return Odd


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (NoGuard, "has to raise StaleToken when the guard does"),
        (GuardTooLate, "was changed although the guard refused it"),
        (NoComparison, "has to raise ConflictError when it has another value than expected"),
        (NotRepeatable, "it has that value already"),
        (Rounds, "was set to 5 but reads 5.0"),
        (SwallowsUnknown, "an unknown knob has to be refused with InputError"),
        (Meddles, "observing has changed the knob box.size"),
        (lambda: Box(name="My Box"), "the target's name is 'My Box'"),
        (observing(value=math.nan), "leave out what is missing"),
        (observing(value=math.inf), "leave out what is missing"),
        (observing(target="other"), "says it is of the target other"),
        (observing(at=1.0), "not of the moment it was asked for"),
        (observing(labels=(("b", "1"), ("a", "2"))), "are not sorted by name"),
        (observing(metric="Size in MB"), "the metric's name"),
        (observing(), "is there twice"),
    ],
)
def test_each_broken_promise_is_named(bad: Callable[[], Box], sentence: str) -> None:
    box = bad()
    with pytest.raises((AssertionError, ConflictError), match=sentence):
        check(box)
    assert box.values == {"box.size": 3} or bad is Meddles


def test_a_knob_without_another_value_is_not_passed_over() -> None:
    with pytest.raises(AssertionError, match="name in `others` a value"):
        check_target(Box())


def test_the_present_value_is_no_other_value() -> None:
    with pytest.raises(AssertionError, match="the value it has already"):
        check_target(Box(), others={"box.size": 3})
