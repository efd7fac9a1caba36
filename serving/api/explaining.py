"""Says why an action was decided as it was, from the decision as it was recorded. Pure.

It repeats the numbers of that moment and computes nothing anew: settings and what was learned may
be others by now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from registry.agent_findings import KeptFinding
from registry.agent_records import Action, Finding
from serving.api import action_answers as shape
from serving.api.answers import ExplainAnswer

FORMULA = (
    "expected_value = expected_improvement × success_probability; "
    "score = expected_value − 0.5 × risk × exposure; it may run if expected_value ≥ "
    "min_improvement_threshold, risk ≤ max_risk_threshold and score > 0"
)


def explained(action: Action, findings: Sequence[KeptFinding]) -> ExplainAnswer:
    """Return why, in numbers and in words."""
    return ExplainAnswer(
        action_id=action.id,
        type=action.proposal.type,
        target=action.proposal.target,
        description=action.proposal.description,
        status=action.state.value,
        reason=action.reason,
        findings=[shape.finding_answer(finding) for finding in findings],
        decision=shape.decision_answer(action.decision),
        formula=FORMULA,
        text="\n".join(_lines(action, findings)),
    )


def as_proposed(grounds: Sequence[Finding], kept: Sequence[KeptFinding]) -> list[KeptFinding]:
    """What called for an action as it was then; how long it held is as known now.

    Args:
        grounds: the findings as the ledger noted them with the proposal.
        kept: the same as last seen; taken for those that were not noted.
    """
    then = {one.id: one for one in grounds}
    found = [replace(one, finding=then.pop(one.finding.id, one.finding)) for one in kept]
    # A cycle may find, and propose, what the analysis has not seen yet.
    return found + [KeptFinding(one, one.at, one.at) for one in then.values()]


def _lines(action: Action, findings: Sequence[KeptFinding]) -> Iterator[str]:
    proposal, decision = action.proposal, action.decision
    yield f"{proposal.type} on {proposal.target}: {proposal.description}"
    yield f"State: {action.state}" + (f" ({action.reason})" if action.reason else "")
    if findings:
        yield "Because:"
        yield from (f"  - {one.finding.text}{_numbers(one.finding)}" for one in findings)
    yield (
        f"Expected value {decision.expected_value:.4g} = improvement "
        f"{decision.expected_improvement:.4g} × success {decision.success_probability:.4g} "
        f"({decision.success_low:.4g} to {decision.success_high:.4g})"
    )
    yield (
        f"Score {decision.score:.4g} = {decision.expected_value:.4g} − 0.5 × risk "
        f"{decision.risk:.4g} × exposure {decision.exposure:.4g}"
    )
    yield from (f"  - {reason}" for reason in decision.reasons)
    yield f"The formula says {'yes' if decision.run else 'no'}."
    if decision.approval:
        yield f"A person has to approve: {decision.approval}"
    if decision.would_change:
        yield "It would be decided otherwise if:"
        yield from (f"  - {change}" for change in decision.would_change)


def _numbers(finding: Finding) -> str:
    shown = ", ".join(f"{name} {value:.4g}" for name, value in sorted(finding.metrics.items()))
    return f" ({shown})" if shown else ""
