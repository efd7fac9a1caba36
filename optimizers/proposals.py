"""Asks every capability what it finds and what it would do, and keeps out what cannot be. Pure.

A capability may come from anywhere, so its mistakes are troubles to be told, not the end of a
cycle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from config.errors import InputError
from optimizers.capability import Capability
from optimizers.view import View
from registry.agent_records import Finding, Proposal
from registry.metric_names import MetricName


@dataclass(frozen=True, slots=True)
class Trouble:
    """A capability that failed, or proposed what cannot be; a sentence says what is wrong."""

    capability: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Advised:
    """A proposal and the capability that made it."""

    capability: Capability
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Gathered:
    """What all capabilities found and would do."""

    findings: tuple[Finding, ...] = ()
    advised: tuple[Advised, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def gather(view: View, capabilities: Iterable[Capability]) -> Gathered:
    """Return the findings and proposals of all capabilities, in their order."""
    findings: list[Finding] = []
    advised: list[Advised] = []
    troubles: list[Trouble] = []
    for one in capabilities:
        try:
            found, proposed, faults = _ask(one, view)
        except Exception as error:  # noqa: BLE001 - a plugin's fault must not stop the others
            troubles.append(
                Trouble(one.type, f"{one.type} failed: {type(error).__name__}: {error}")
            )
            continue
        findings += found
        advised += proposed
        troubles += faults
    return Gathered(tuple(findings), tuple(advised), tuple(troubles))


def _ask(capability: Capability, view: View) -> tuple[list[Finding], list[Advised], list[Trouble]]:
    findings = list(capability.detect(view))
    advised, troubles = [], []
    for finding in findings:
        for proposal in capability.propose(finding, view):
            fault = fault_of(proposal, capability.type)
            if fault:
                troubles.append(Trouble(capability.type, fault))
            else:
                advised.append(Advised(capability, proposal))
    return findings, advised, troubles


def fault_of(proposal: Proposal, kind: str) -> str:
    """Return why a proposal cannot be used, in a sentence; empty when it can."""
    if proposal.type != kind:
        return f"{kind} proposed an action of type {proposal.type}, which another carries out"
    if not (proposal.advice_id and proposal.key and proposal.target and proposal.goal_metric):
        return f"{kind} proposed an action without advice id, key, target or goal metric"
    fault = _fault_of_names(proposal) or _fault_of_numbers(proposal)
    return f"{kind} proposed {proposal.advice_id} with {fault}" if fault else ""


def _fault_of_names(proposal: Proposal) -> str:
    try:
        for name in (proposal.goal_metric, *proposal.guardrails):
            MetricName.parse(name)
    except InputError as error:
        return f"a metric that cannot be read: {error}"
    return ""


def _fault_of_numbers(proposal: Proposal) -> str:
    expected, change = proposal.expected, proposal.change
    numbers = (expected.mean, expected.low, expected.high, proposal.risk)
    if not all(math.isfinite(number) for number in numbers):
        return "numbers that are not finite"
    if not 0.0 <= proposal.risk <= 1.0:
        return f"risk {proposal.risk}, which is not 0 to 1"
    if not expected.low <= expected.mean <= expected.high:
        return "an improvement outside its own interval"
    if change is not None and change.before == change.after:
        return f"a change of {change.knob} that changes nothing"
    return ""
