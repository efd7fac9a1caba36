"""Values of a knob that many threads have: one for all, or each its own where they differ. Pure.

The value of a name is what all its threads have. Where they differ it is an object of each thread's
key (its number and the moment it began) and value, so that exactly that can be put back. A thread
that has come since, and is not in the object, takes the value of its process's first thread there,
which it would have inherited; of a process that is not there at all, the value most of them have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from pydantic import JsonValue

from optimizers.targets.processes_facts import Thread
from registry.agent_records import canonical_json

Values = Mapping[Thread, JsonValue]


class Standing(StrEnum):
    """How the threads of a name stand to a change."""

    BEFORE = "before"
    AFTER = "after"
    BETWEEN = "between"
    OTHER = "other"
    GONE = "gone"


def folded(values: Values) -> JsonValue:
    """The value of a name: one for all of its threads, or each its own.

    Raises:
        ValueError: there is no thread.
    """
    if not values:
        raise ValueError("no thread has a value")
    first, *others = values.values()
    if all(one == first for one in others):
        return first
    return {thread.key: value for thread, value in values.items()}


def wanted_of(thread: Thread, value: JsonValue) -> JsonValue:
    """What a thread has when its name has this value."""
    if not isinstance(value, Mapping):
        return value
    if thread.key in value:
        return value[thread.key]
    inherited = [held for key, held in value.items() if key.startswith(f"{thread.pid}@")]
    return inherited[0] if inherited else most_common(value.values())


def most_common(values: Iterable[JsonValue]) -> JsonValue:
    """The value that is there most often; the first of them where several are."""
    held = list(values)
    counts = Counter(canonical_json(one) for one in held)
    [(text, _)] = counts.most_common(1)
    return next(one for one in held if canonical_json(one) == text)


def standing(
    values: Values, before: JsonValue, after: JsonValue, new: Collection[Thread] = ()
) -> Standing:
    """How threads stand to a change of their name's value.

    Args:
        values: what each has now.
        before: the name's value before the change.
        after: its value after the change.
        new: threads that have come since the change was begun; they tell nothing about it, unless
            there is no other.
    """
    told = {thread: value for thread, value in values.items() if thread not in new} or values
    if not told:
        return Standing.GONE
    was = [value == wanted_of(thread, before) for thread, value in told.items()]
    has = [value == wanted_of(thread, after) for thread, value in told.items()]
    if all(has):
        return Standing.AFTER
    if all(was):
        return Standing.BEFORE
    between = all(one or other for one, other in zip(was, has, strict=True))
    return Standing.BETWEEN if between else Standing.OTHER
