"""What the agent knows at one moment: the only input of detection, proposals, decisions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from registry.agent_records import (
    Action,
    Finding,
    GoalProgress,
    Learned,
    Observation,
    TargetHealth,
)


@dataclass(frozen=True, slots=True)
class Study:
    """What a closer look brought to light, and when; `trouble` says why it did not."""

    at: float
    value: JsonValue = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One consistent look at everything.

    Attributes:
        at: seconds since the epoch.
        history: recent observations by target and metric, oldest first, all labels.
        health: how each target answered last.
        facts: what a target knows besides numbers, by target; its capabilities know the type.
        actions: actions that are not final, and those that ended within the last day.
        held: knobs the agent has stepped aside for, by (target, knob), with the reason.
        declined: the expected gain of advice that a person declined, by advice id.
        score: the weighted performance score 0 to 100; None when no goal metric is known.
        studies: closer looks that are known, by action type and subject.
    """

    at: float
    history: Mapping[tuple[str, str], Sequence[Observation]] = field(default_factory=dict)
    health: Mapping[str, TargetHealth] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    goals: Sequence[GoalProgress] = ()
    score: float | None = None
    findings: Sequence[Finding] = ()
    actions: Sequence[Action] = ()
    learned: Mapping[tuple[str, str], Learned] = field(default_factory=dict)
    held: Mapping[tuple[str, str], str] = field(default_factory=dict)
    declined: Mapping[str, float] = field(default_factory=dict)
    studies: Mapping[tuple[str, str], Study] = field(default_factory=dict)

    def study(self, kind: str, subject: str, fresh_s: float) -> Study | None:
        """The closer look at a subject that an action type took, unless it is too old."""
        found = self.studies.get((kind, subject))
        return found if found is not None and 0 <= self.at - found.at <= fresh_s else None

    def recent(self, target: str, metric: str, seconds: float) -> list[Observation]:
        """The observations of a metric within the last `seconds`, oldest first."""
        since = self.at - seconds
        return [one for one in self.history.get((target, metric), ()) if one.at >= since]

    def last(self, target: str, metric: str) -> Observation | None:
        """The newest observation of a metric, of whatever labels."""
        found = self.history.get((target, metric), ())
        return found[-1] if found else None
