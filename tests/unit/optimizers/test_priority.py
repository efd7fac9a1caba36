"""The order of actions: level, expected improvement, lower risk, past success."""

from __future__ import annotations

import random

from optimizers.priority import ordered
from registry.agent_records import Priority
from tests.services.agent_samples import decision, proposal


def test_level_comes_first_then_improvement_then_risk_then_success() -> None:
    wanted = [
        (
            proposal(advice_id="1", priority=Priority.CRITICAL, risk=0.9),
            decision(expected_improvement=0.1),
        ),
        (proposal(advice_id="2", priority=Priority.HIGH), decision(expected_improvement=0.3)),
        (proposal(advice_id="3", priority=Priority.HIGH), decision(expected_improvement=0.2)),
        (proposal(advice_id="4", risk=0.1), decision(success_probability=0.5)),
        (proposal(advice_id="5", risk=0.2), decision(success_probability=0.9)),
        (proposal(advice_id="6", risk=0.2), decision(success_probability=0.7)),
        (proposal(advice_id="7", risk=0.2), decision(success_probability=0.7)),
        (proposal(advice_id="8", priority=Priority.LOW), decision(expected_improvement=0.9)),
    ]
    mixed = list(wanted)
    random.Random(7).shuffle(mixed)
    assert ordered(mixed) == wanted
