"""Which action goes first: level, expected improvement, lower risk, past success. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.agent_records import Decision, Proposal

Candidate = tuple[Proposal, Decision]


def rank(proposal: Proposal, decision: Decision) -> tuple[int, float, float, float, str]:
    """Return the sort key of a proposal, the first to be done being the smallest.

    Where all else is equal the advice id decides, so that the order never depends on chance.
    """
    return (
        proposal.priority.rank,
        -decision.expected_improvement,
        proposal.risk,
        -decision.success_probability,
        proposal.advice_id,
    )


def ordered(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates in the order in which they are to be done."""
    return sorted(candidates, key=lambda one: rank(*one))
