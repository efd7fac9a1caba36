"""Where a change stands that is switched to and fro while its effect is measured. Pure.

The action's progress holds it, so that whoever goes on after a crash knows it: the side that the
last switch came to, and the side of a switch that was noted and may have been made or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from optimizers.capability import Sight
from registry.agent_records import Action

SWITCH = "switch"
"""The key of the action's progress."""

_SIDES = frozenset({Sight.BEFORE, Sight.AFTER})


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of where a change stands.

    Attributes:
        stands: the side the agent left it at.
        to: the side of a switch under way; None while there is none.
        failures: attempts at this switch that failed.
    """

    stands: Sight = Sight.AFTER
    to: Sight | None = None
    failures: int = 0

    @property
    def sights(self) -> frozenset[Sight]:
        """The sides at which the change is ours: both of them only while it is switched."""
        return frozenset({self.stands}) if self.to is None else _SIDES

    def switching(self, to: Sight) -> Standing:
        """With a switch noted."""
        return replace(self, to=to, failures=0)

    def switched(self) -> Standing:
        """With the switch that was noted made."""
        return Standing(self.to or self.stands)

    def failed(self) -> Standing:
        """With one more failure of the switch under way."""
        return replace(self, failures=self.failures + 1)

    def note(self) -> Mapping[str, JsonValue]:
        """The entry for the action's progress."""
        to = self.to.value if self.to is not None else None
        return {SWITCH: {"stands": self.stands.value, "to": to, "failures": self.failures}}


def standing_of(action: Action) -> Standing:
    """Where an applied change stands, by the action's notes: at AFTER until it is switched."""
    noted = action.progress.get(SWITCH)
    if not isinstance(noted, Mapping):
        return Standing()
    failures = noted.get("failures")
    return Standing(
        _side(noted.get("stands")) or Sight.AFTER,
        _side(noted.get("to")),
        failures if isinstance(failures, int) else 0,
    )


def _side(value: JsonValue) -> Sight | None:
    return Sight(value) if value in {Sight.BEFORE.value, Sight.AFTER.value} else None
