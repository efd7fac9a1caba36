"""Proposals, actions and a capability for tests of what the agent decides."""

# ruff: noqa: ANN401 - parts of records are handed on as they are

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from optimizers.capability import Effects, Prior
from optimizers.view import View
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Decision,
    Direction,
    Estimate,
    Finding,
    Observation,
    Priority,
    Proposal,
    Severity,
)

NOON = 1_767_614_400.0  # 2026-01-05 12:00 UTC, a Monday


def proposal(**parts: Any) -> Proposal:
    """A plain reversible change that the formula accepts, with some parts replaced."""
    plain = Proposal(
        type="cache_resize",
        target="serving",
        advice_id="cache_resize-1",
        key="cache_resize-1",
        priority=Priority.MEDIUM,
        description="Enlarge the prediction cache",
        parameters={},
        expected=Estimate(0.15, 0.15, 0.15),
        risk=0.2,
        goal_metric="cache_hit_rate",
        goal_direction=Direction.MAXIMIZE,
        reversible=True,
        change=Change("serving.cache_entries", 0, 1000),
    )
    return replace(plain, **parts)


def numbered(number: int, **parts: Any) -> Proposal:
    """One of many proposals that have nothing in common."""
    return proposal(
        **{
            "target": f"target-{number}",
            "advice_id": f"advice-{number}",
            "key": f"key-{number}",
            "goal_metric": f"metric-{number}",
            "change": Change(f"knob-{number}", 0, 1),
            **parts,
        }
    )


def decision(**parts: Any) -> Decision:
    """A decision for `proposal()`, with some parts replaced."""
    plain = Decision(
        run=True,
        expected_improvement=0.15,
        success_probability=0.8,
        success_low=0.3,
        success_high=0.99,
        exposure=0.1,
        risk=0.2,
        expected_value=0.12,
        score=0.11,
    )
    return replace(plain, **parts)


def action(what: Proposal | None = None, **parts: Any) -> Action:
    """A scheduled action, with some parts replaced."""
    plain = Action(
        id="action-1",
        proposal=what or proposal(),
        decision=decision(),
        state=ActionState.SCHEDULED,
        reason="for a test",
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(plain, **parts)


def finding(**parts: Any) -> Finding:
    """A finding of the sample capability."""
    plain = Finding(
        id="finding-1",
        rule="sample",
        target="serving",
        subject="",
        severity=Severity.WARNING,
        text="the cache is too small",
        at=NOON,
        metrics={"cache_hit_rate": 0.4},
    )
    return replace(plain, **parts)


class NoEffects:
    """Stands where effects belong in tests that decide only: using it fails."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"deciding must not touch the world ({name})")


@dataclass
class SampleCapability:
    """Proposes what it is given, once for its one finding; with `metric`, only above `limit`."""

    proposals: Sequence[Proposal]
    type: str = "cache_resize"
    target: str = "serving"
    prior: Prior = field(default_factory=lambda: Prior(0.15, 0.2))
    effects: Effects = field(default_factory=lambda: cast(Effects, NoEffects()))
    deadline_s: float = 600.0
    metric: str = ""
    limit: float = 0.0

    def detect(self, view: View) -> Sequence[Finding]:
        """Its finding, where there is data above the limit."""
        if not self.metric:
            return [finding(at=view.at)]
        seen: Observation | None = view.last(self.target, self.metric)
        if seen is None or seen.value <= self.limit:
            return []
        return [finding(at=view.at, metrics={self.metric: seen.value})]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:  # noqa: ARG002
        """All it was given."""
        return self.proposals
