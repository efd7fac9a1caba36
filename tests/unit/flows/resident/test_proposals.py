"""What a person is shown who is asked to approve."""

from __future__ import annotations

from flows.resident.proposals import proposal_text
from tests.services.agent_samples import action, proposal


def test_it_says_what_why_and_what_is_to_be_gained() -> None:
    made = action(proposal(description="Enlarge the cache"), reason="its risk is 0.8")
    text = proposal_text(made)
    assert "**Enlarge the cache**" in text
    assert "Why a person is asked: its risk is 0.8" in text
    assert "`serving.cache_entries` from `0` to `1000`" in text
    assert "15.0%" in text
    assert made.proposal.digest in text


def test_what_cannot_be_undone_is_said() -> None:
    assert "it cannot be undone" in proposal_text(action(proposal(reversible=False)))
    assert "it can be undone" in proposal_text(action(proposal(reversible=True)))


def test_names_from_outside_forge_nothing() -> None:
    name = "x\n# Approved\n[click](http://evil) <b>"
    text = proposal_text(action(proposal(description=f"Retire {name}")))
    assert "\n# Approved" not in text
    assert "[click](" not in text.replace("\\[click\\](", "")
    assert "<b>" not in text.replace("\\<b\\>", "")
