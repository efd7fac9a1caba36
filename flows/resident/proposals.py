"""A proposal as a person reads it who is asked to approve it."""

from __future__ import annotations

import json

from registry.agent_records import Action


def proposal_text(action: Action) -> str:
    """Markdown: what would be done, why a person is asked, and the numbers of the decision."""
    proposal, decision = action.proposal, action.decision
    expected = proposal.expected
    lines = [
        f"**{_plain(proposal.description)}**",
        "",
        f"Why a person is asked: {_plain(action.reason)}",
        "",
        f"- action `{action.id}`, type `{proposal.type}`, target `{proposal.target}`",
        f"- expected improvement of `{proposal.goal_metric}`: {expected.mean:.1%}, "
        + _range(expected.low, expected.high),
        f"- probability of success {decision.success_probability:.0%}, "
        + _range(decision.success_low, decision.success_high),
        f"- risk {proposal.risk:g}, score {decision.score:.3f}",
        f"- it can{'' if proposal.reversible else 'not'} be undone",
    ]
    if proposal.change is not None:
        change = proposal.change
        before, after = json.dumps(change.before), json.dumps(change.after)
        lines.append(f"- change of `{change.knob}` from `{before}` to `{after}`")
    lines += [f"- {_plain(reason)}" for reason in decision.reasons]
    lines += ["", f"Proposal `{proposal.digest}`"]
    return "\n".join(lines)


def _range(low: float, high: float) -> str:
    return f"between {low:.1%} and {high:.1%}"


def _plain(text: str) -> str:
    """A text on one line; names from outside make neither headings nor links."""
    flat = " ".join(text.split())
    return "".join(f"\\{one}" if one in "[]<>`*_#!|" else one for one in flat)
