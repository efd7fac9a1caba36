"""What every target offers: observing, and reading and writing knobs with compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from config.errors import InputError
from registry.agent_records import Change, Observation


@dataclass(frozen=True, slots=True)
class Observed:
    """What one look at a target gave.

    Attributes:
        observations: numbers; what is missing is left out.
        facts: what the target's capabilities need besides numbers; None for nothing.
        troubles: what did not work although the target answered, in sentences.
    """

    observations: Sequence[Observation] = ()
    facts: object = None
    troubles: Sequence[str] = field(default=())


@runtime_checkable
class Target(Protocol):
    """A system that can be observed and (perhaps) changed.

    Attributes:
        name: as in findings, proposals and settings, such as `host` or `serving`.
    """

    name: str

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Look at the target once, within `timeout_s` seconds.

        Raises:
            UnavailableError: it does not answer.
        """
        ...

    def knobs(self) -> Sequence[str]:
        """The names of the knobs that `read` and `write` take; empty when it only observes."""
        ...

    def read(self, knob: str) -> JsonValue:
        """Return a knob's value now.

        Raises:
            InputError: no such knob.
            UnavailableError: the target does not answer.
        """
        ...

    def write(self, change: Change, guard: Guard) -> None:
        """Set a knob from `change.before` to `change.after`, or change nothing.

        The guard and the present value are checked in the same atomic step as the write; where the
        target has no such step, while the ledger's lock is held across a short effect. Writing what
        is there already (`after`) changes nothing.

        Raises:
            ConflictError: the knob has another value than `change.before` or `change.after`.
            StaleToken: somebody else works on the action now.
            UnavailableError: the target does not answer; the outcome has to be read.
        """
        ...


class Guard(Protocol):
    """Proof, checked at the moment of the effect, that the caller may still act."""

    def check(self) -> None:
        """Do nothing while the caller may act.

        Raises:
            StaleToken: the action has passed to another holder.
            ConflictError: the agent was paused, or the action's deadline is over.
        """
        ...


class ObserveOnly:
    """For targets without knobs: says so when asked for one."""

    name: str

    def knobs(self) -> Sequence[str]:
        """None."""
        return ()

    def read(self, knob: str) -> JsonValue:
        """Raise InputError: there is no knob."""
        raise self._no_knob(knob)

    def write(self, change: Change, guard: Guard) -> None:  # noqa: ARG002
        """Raise InputError: there is no knob."""
        raise self._no_knob(change.knob)

    def _no_knob(self, knob: str) -> InputError:
        return InputError(f"{self.name} has no knob {knob!r}; it is only observed")
