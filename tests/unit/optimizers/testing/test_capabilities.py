"""The kits for capabilities and their actions accept good ones and name the faults of others."""

# ruff: noqa: ANN401, ARG002 - parts of records are handed on; bad effects ignore what they get

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import JsonValue

from optimizers.capability import Effects, Prior, Seen, Sight, Tools
from optimizers.knob_effects import KnobEffects
from optimizers.targets.base import Guard
from optimizers.testing import check_capability, check_knob_action
from optimizers.view import View
from registry.agent_records import (
    Action,
    Change,
    Direction,
    Estimate,
    Finding,
    Observation,
    Priority,
    Proposal,
    Severity,
)
from tests.unit.optimizers.testing.test_targets import Box

FULL = Observation("box", "fill_percent", 95.0, 100.0)
VIEW = View(at=100.0, history={("box", "fill_percent"): [FULL]})


class Grow:
    """Doubles the box's size when it is full."""

    type = "box_grow"
    target = "box"
    prior = Prior(improvement=0.2, risk=0.2)
    deadline_s = 60.0

    def __init__(self) -> None:
        self.effects: Effects = KnobEffects(samples=12, every_s=1.0)

    def detect(self, view: View) -> Sequence[Finding]:
        last = view.last("box", "fill_percent")
        if last is None:
            return []
        return [Finding("box_grow:full", "box_grow", "box", "", Severity.WARNING, "full", view.at)]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        return [
            Proposal(
                type="box_grow",
                target="box",
                advice_id="box_grow-6",
                key="box_grow:6",
                priority=Priority.LOW,
                description="Double the size",
                parameters={},
                expected=Estimate(0.2, 0.0, 0.4),
                risk=0.2,
                goal_metric="fill_percent",
                goal_direction=Direction.MINIMIZE,
                reversible=True,
                change=Change("box.size", 3, 6),
                finding_ids=(finding.id,),
            )
        ]


def proposing(**parts: Any) -> Callable[[], Grow]:
    class Odd(Grow):
        def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
            return [replace(one, **parts) for one in super().propose(finding, view)]

    return Odd


def finding(**parts: Any) -> Callable[[], Grow]:
    class Odd(Grow):
        def detect(self, view: View) -> Sequence[Finding]:
            return [replace(one, **parts) for one in super().detect(view)]

    return Odd


def having(**parts: Any) -> Callable[[], Grow]:
    def make() -> Grow:
        grow = Grow()
        for name, value in parts.items():
            setattr(grow, name, value)
        return grow

    return make


class Forgetful(Grow):
    """Its advice id holds the time."""

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        return [
            replace(one, advice_id=f"box_grow-{view.at}") for one in super().propose(finding, view)
        ]


class NewFindings(Grow):
    """Its finding id holds the time."""

    def detect(self, view: View) -> Sequence[Finding]:
        return [replace(one, id=f"box_grow:{view.at}") for one in super().detect(view)]


class Invents(Grow):
    """Finds something without data."""

    def detect(self, view: View) -> Sequence[Finding]:
        return [Finding("box_grow:x", "box_grow", "box", "", Severity.INFO, "?", view.at)]


class Counts(Grow):
    """Proposes something else each time it is asked."""

    asked = 0

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        self.asked += 1
        change = Change("box.size", 3, 6 + self.asked)
        return [replace(one, change=change) for one in super().propose(finding, view)]


def test_a_good_capability_passes_and_its_proposals_come_back() -> None:
    [proposal] = check_capability(Grow(), [VIEW], bounds={"box.size": (1, 100)})
    assert proposal.change == Change("box.size", 3, 6)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (Invents, "something was found without any data"),
        (Forgetful, "had another id a second later"),
        (NewFindings, "finding ids hold the time"),
        (Counts, "the same finding gave other proposals"),
        (proposing(type="other"), "which another carries out"),
        (proposing(risk=1.5), "risk 1.5"),
        (proposing(advice_id=""), "without advice id"),
        (proposing(expected=Estimate(0.5, 0.0, 0.4)), "outside its own interval"),
        (proposing(change=Change("box.size", 3, 3)), "changes nothing"),
        (proposing(change=Change("box.size", 3, 101)), "not within 1 to 100"),
        (proposing(change=Change("box.colour", 3, 6)), "no bounds are given"),
        (proposing(description=" "), "does not say what is to be done"),
        (proposing(finding_ids=()), "does not name the finding"),
        (proposing(target="other"), "is for the target other"),
        (proposing(guardrails=("fill_percent",)), "as a guardrail too"),
        (proposing(parameters={"x": object()}), "cannot be written as JSON"),
        (finding(target="other"), "is of other"),
        (finding(text=""), "says nothing"),
        (finding(id=""), "a finding has an id"),
        (having(prior=Prior(improvement=0.1, risk=2.0)), "the prior's risk is 2.0"),
        (having(prior=Prior(improvement=0.1, risk=0.1, success=0.0)), "the prior's success"),
        (having(prior=Prior(improvement=0.1, risk=0.1, weight=0.0)), "the prior's weight"),
        (having(deadline_s=float("inf")), "has to be finite"),
        (having(effects=object()), "the effects have no look, apply, verify, undo"),
        (having(type="Box Grow"), "the type is 'Box Grow'"),
    ],
)
def test_each_broken_promise_is_named(bad: Callable[[], Grow], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_capability(bad(), [VIEW], bounds={"box.size": (1, 100)})


def test_views_that_lead_to_nothing_prove_nothing() -> None:
    with pytest.raises(AssertionError, match="nothing was checked"):
        check_capability(Grow(), [View(at=1.0)])


def proposal() -> Proposal:
    return check_capability(Grow(), [VIEW])[0]


def test_good_effects_pass_and_the_target_is_left_as_it_was() -> None:
    box = Box()
    check_knob_action(Grow().effects, proposal(), box, stranger=9)
    assert box.values == {"box.size": 3}


class Wrapped:
    """Good effects, for others to spoil."""

    def __init__(self) -> None:
        self.good = KnobEffects(samples=12, every_s=1.0)

    def look(self, action: Action, tools: Tools) -> Seen:
        return self.good.look(action, tools)

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        return self.good.apply(action, guard, tools)

    def verify(self, action: Action, tools: Tools) -> None:
        return None

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        self.good.undo(action, guard, tools)


class UndoesNothing(Wrapped):
    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        guard.check()


class Overwrites(Wrapped):
    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        guard.check()
        box = tools.targets["box"]
        assert isinstance(box, Box)
        box.values["box.size"] = 3


class IgnoresTheGuard(Wrapped):
    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        box = tools.targets["box"]
        assert isinstance(box, Box)
        box.values["box.size"] = 6
        return {}


class SeesNothing(Wrapped):
    def look(self, action: Action, tools: Tools) -> Seen:
        return Seen(Sight.AFTER)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (UndoesNothing, "after undoing a look has to find before"),
        (Overwrites, "undoing has to raise ConflictError at a stranger's value"),
        (IgnoresTheGuard, "applying has to raise StaleToken"),
        (SeesNothing, "before it is applied a look has to find before"),
    ],
)
def test_bad_effects_are_named_and_the_target_is_left_as_it_was(
    bad: Callable[[], Effects], sentence: str
) -> None:
    box = Box()
    with pytest.raises(AssertionError, match=sentence):
        check_knob_action(bad(), proposal(), box, stranger=9)
    assert box.values == {"box.size": 3}


def test_a_job_is_no_change() -> None:
    with pytest.raises(AssertionError, match="is a job"):
        check_knob_action(Wrapped(), replace(proposal(), change=None), Box(), stranger=9)
