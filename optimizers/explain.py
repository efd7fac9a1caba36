"""Why a cycle did, or did not, act on each proposal: as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from optimizers.planning import CycleResult
from registry.agent_records import Decision, Finding, Proposal


@dataclass(frozen=True, slots=True)
class Explanation:
    """One proposal of a cycle and what became of it.

    Attributes:
        outcome: the state of the action that was planned, or why it was left out.
        reason: the same in a sentence.
        findings: what called for it.
        decision: the numbers; None where it was not weighed.
    """

    proposal: Proposal
    outcome: str
    reason: str
    findings: tuple[Finding, ...] = ()
    decision: Decision | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON."""
        proposal, decision = self.proposal, self.decision
        numbers: JsonValue = None
        if decision is not None:
            numbers = {name: _plain(value) for name, value in asdict(decision).items()}
        return {
            "advice_id": proposal.advice_id,
            "type": proposal.type,
            "target": proposal.target,
            "description": proposal.description,
            "outcome": self.outcome,
            "reason": self.reason,
            "findings": [
                {"id": one.id, "text": one.text, "metrics": dict(one.metrics)}
                for one in self.findings
            ],
            "decision": numbers,
        }

    def to_text(self) -> str:
        """Return it in lines for a person to read."""
        proposal, decision = self.proposal, self.decision
        lines = [
            f"{proposal.type} on {proposal.target}: {proposal.description}",
            f"  {self.outcome}: {self.reason}",
        ]
        lines += [f"  because {one.text}{_numbers(one.metrics)}" for one in self.findings]
        if decision is not None:
            lines += [f"  - {reason}" for reason in decision.reasons]
            lines += [f"  would change with {point}" for point in decision.would_change]
        return "\n".join(lines)


def explain_cycle(result: CycleResult) -> tuple[Explanation, ...]:
    """Return an explanation of every proposal: first what is acted on, then what is not."""
    acted = tuple(
        Explanation(
            one.proposal,
            one.state.value,
            one.reason,
            _findings_of(one.proposal, result.findings),
            one.decision,
        )
        for one in result.actions
    )
    left = tuple(
        Explanation(
            one.proposal,
            one.kind.value,
            one.reason,
            _findings_of(one.proposal, result.findings),
            one.decision,
        )
        for one in result.skipped
    )
    return acted + left


def _findings_of(proposal: Proposal, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    wanted = set(proposal.finding_ids)
    return tuple(one for one in findings if one.id in wanted)


def _plain(value: object) -> JsonValue:
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _numbers(metrics: Mapping[str, float]) -> str:
    shown = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
    return f" ({shown})" if shown else ""
