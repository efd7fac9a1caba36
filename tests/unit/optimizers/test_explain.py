"""Explanations: what called for it, the numbers, what would change it."""

from __future__ import annotations

import json
from dataclasses import replace

from config.ids import SeededIds
from config.settings import Settings
from optimizers.explain import Explanation, explain_cycle
from optimizers.planning import plan_cycle
from optimizers.view import View
from registry.agent_records import Estimate
from tests.services.agent_samples import NOON, SampleCapability, numbered, proposal


def explained() -> tuple[Explanation, ...]:
    good = proposal(finding_ids=("finding-1",))
    poor = numbered(1, expected=Estimate(0.01, 0.01, 0.01))
    view = View(at=NOON, declined={"advice-2": 0.5})
    capability = SampleCapability([good, poor, numbered(2)])
    return explain_cycle(plan_cycle(view, [capability], Settings(), SeededIds(1)))


def test_every_proposal_is_explained() -> None:
    assert [one.outcome for one in explained()] == ["scheduled", "refused", "declined"]


def test_the_text_tells_why_in_numbers_and_what_would_change_it() -> None:
    text = explained()[0].to_text()
    assert "cache_resize on serving: Enlarge the prediction cache" in text
    assert "because the cache is too small (cache_hit_rate 0.4)" in text
    assert "score 0.11 (0.12 − 0.5 × risk 0.2 × exposure 0.1) is above 0" in text
    assert "would change with a success probability under 0.3333" in text


def test_what_was_not_weighed_has_no_numbers() -> None:
    declined = explained()[2]
    assert declined.to_dict()["decision"] is None
    assert "raised again from 1 on" in declined.to_text()


def test_the_json_is_json() -> None:
    for one in explained():
        again = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        assert again["advice_id"] == one.proposal.advice_id
    first = explained()[0].to_dict()
    assert first["findings"] == [
        {"id": "finding-1", "text": "the cache is too small", "metrics": {"cache_hit_rate": 0.4}}
    ]


def test_findings_of_others_are_not_told() -> None:
    assert explained()[1].findings == ()
    assert replace(explained()[1], reason="x").to_text().count("because") == 0
