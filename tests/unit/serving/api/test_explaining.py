"""Explanations: the numbers of the decision, and what was found when it was made."""

from __future__ import annotations

from dataclasses import replace

from config.clock import ManualClock, epoch
from serving.api import views
from serving.api.stores import AgentStores
from tests.services.agent_api import proposed
from tests.services.agent_samples import decision, finding


def test_an_explanation_repeats_the_numbers_of_the_decision(
    stores: AgentStores, clock: ManualClock
) -> None:
    stores.findings.put([finding()], epoch(clock.now()))
    action = proposed(stores.engine, clock, 1)
    known = replace(
        action,
        id="action-2",
        proposal=replace(action.proposal, advice_id="other", finding_ids=("finding-1",)),
        decision=decision(
            approval="its priority is critical",
            reasons=("expected value 0.12 ≥ 0.05",),
            would_change=("a risk above 0.7",),
        ),
    )
    stores.actions.propose(known)
    answer = views.explain(stores, "action-2")
    assert [one.id for one in answer.findings] == ["finding-1"]
    assert answer.decision.score == 0.11
    for words in (
        "the cache is too small (cache_hit_rate 0.4)",
        "Expected value 0.12 = improvement 0.15 × success 0.8 (0.3 to 0.99)",
        "Score 0.11 = 0.12 − 0.5 × risk 0.2 × exposure 0.1",
        "expected value 0.12 ≥ 0.05",
        "a risk above 0.7",
        "its priority is critical",
    ):
        assert words in answer.text


def test_what_was_found_is_told_as_it_was_when_it_was_decided(
    stores: AgentStores, clock: ManualClock
) -> None:
    found = finding()
    stores.findings.put([found], epoch(clock.now()))
    action = proposed(stores.engine, clock, 1)
    about = replace(action.proposal, advice_id="other", finding_ids=(found.id, "finding-2"))
    fresh, foreign = replace(found, id="finding-2", text="seen just now"), replace(found, id="x")
    stores.actions.propose(
        replace(action, id="action-2", proposal=about), findings=[found, fresh, foreign]
    )
    clock.advance(60.0)
    worse = replace(found, text="it is worse by now", metrics={"cache_hit_rate": 0.1})
    stores.findings.put([worse], epoch(clock.now()))

    answer = views.explain(stores, "action-2")
    assert [(one.id, one.text) for one in answer.findings] == [
        (found.id, found.text),
        ("finding-2", "seen just now"),
    ]
    assert answer.findings[0].metrics == found.metrics
    assert answer.findings[0].last_at == clock.now(), "how long it holds is told as known now"
    assert "it is worse by now" not in answer.text
