"""What every target has to keep."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from pydantic import JsonValue

from config.errors import ConflictError, InputError, StaleToken
from optimizers.targets.base import Observed, Target
from optimizers.testing.asserting import (
    require,
    require_name,
    require_raises,
    require_unique,
)
from optimizers.testing.guards import FreeGuard, RefusingGuard
from registry.agent_records import Change, canonical_json

_UNKNOWN_KNOB = "no-such-knob"
_GRACE_S = 1.0


def check_target(
    target: Target,
    *,
    others: Mapping[str, JsonValue] | None = None,
    at: float = 1_700_000_000.0,
    timeout_s: float = 5.0,
) -> None:
    """Check that a target, whose system runs, keeps what the seam promises.

    Args:
        target: the target.
        others: for every knob a value it may have that differs from the present one; each knob is
            written, and put back.
        at: the moment of the look, seconds since the epoch.
        timeout_s: longest time of one look, seconds.

    Raises:
        AssertionError: a promise is not kept; the text says which.
    """
    require(isinstance(target, Target), "a target has a name, observe, knobs, read and write")
    require_name(target.name, "the target's name")
    knobs = list(target.knobs())
    require_unique(knobs, "the knob")
    before = {knob: target.read(knob) for knob in knobs}
    _check_look(target, at, timeout_s)
    for knob, value in before.items():
        require(_same(target.read(knob), value), f"observing has changed the knob {knob}")
    _check_unknown_knob(target)
    values = others or {}
    for knob in knobs:
        require(knob in values, f"name in `others` a value to write to the knob {knob}")
        _check_knob(target, knob, values[knob])


def _check_look(target: Target, at: float, timeout_s: float) -> None:
    began = time.monotonic()
    observed = target.observe(at, timeout_s)
    took = time.monotonic() - began
    limit = timeout_s + _GRACE_S
    require(took <= limit, f"observe took {took:.1f} s where {timeout_s:g} s were allowed")
    require(isinstance(observed, Observed), "observe has to return Observed")
    for one in observed.observations:
        require_name(one.metric, "the metric's name")
        value = one.value
        finite = isinstance(value, int | float) and math.isfinite(value)
        require(finite, f"{one.metric} is {value!r}; leave out what is missing")
        require(one.target == target.name, f"{one.metric} says it is of the target {one.target}")
        require(one.at == at, f"{one.metric} is of {one.at}, not of the moment it was asked for")
        ordered = tuple(sorted(one.labels))
        require(one.labels == ordered, f"the labels of {one.metric} are not sorted by name")
    series = [(one.metric, one.labels) for one in observed.observations]
    require_unique(series, "the series")


def _check_unknown_knob(target: Target) -> None:
    change = Change(_UNKNOWN_KNOB, before=0, after=1)
    sentence = "an unknown knob has to be refused with InputError"
    require_raises(InputError, lambda: target.read(_UNKNOWN_KNOB), sentence)
    require_raises(InputError, lambda: target.write(change, FreeGuard()), sentence)


def _check_knob(target: Target, knob: str, other: JsonValue) -> None:
    before = target.read(knob)
    require(not _same(before, other), f"`others` holds for {knob} the value it has already")
    there, back = Change(knob, before, other), Change(knob, other, before)
    try:
        _check_refusals(target, there)
        _check_write(target, there)
        # Now the value is `other`, so a change back that expects `before` is a stranger's.
        _check_write(target, back)
    finally:
        if not _same(target.read(knob), before):
            target.write(Change(knob, target.read(knob), before), FreeGuard())


def _check_refusals(target: Target, there: Change) -> None:
    knob, before = there.knob, there.before
    paused = RefusingGuard(ConflictError("the agent was paused; nothing was changed"))
    for guard, kind in ((RefusingGuard(), StaleToken), (paused, ConflictError)):
        sentence = f"writing {knob} has to raise {kind.__name__} when the guard does"
        require_raises(kind, lambda guard=guard: target.write(there, guard), sentence)  # type: ignore[misc]
        unchanged = _same(target.read(knob), before)
        require(unchanged, f"{knob} was changed although the guard refused it")
    strange = Change(knob, before=[knob, "a value it never had"], after=there.after)
    sentence = f"writing {knob} has to raise ConflictError when it has another value than expected"
    require_raises(ConflictError, lambda: target.write(strange, FreeGuard()), sentence)
    unchanged = _same(target.read(knob), before)
    require(unchanged, f"{knob} was changed although its value was not the expected one")


def _check_write(target: Target, change: Change) -> None:
    knob, guard = change.knob, FreeGuard()
    target.write(change, guard)
    require(guard.checks > 0, f"writing {knob} has to ask the guard")
    found = target.read(knob)
    exact = _same(found, change.after)
    require(exact, f"{knob} was set to {change.after!r} but reads {found!r}")
    target.write(change, FreeGuard())
    again = target.read(knob)
    require(_same(again, change.after), f"writing {knob} a second time has changed it to {again!r}")


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Exactly the same value: 1 is not True, and not 1.0."""
    return canonical_json(one) == canonical_json(other)
