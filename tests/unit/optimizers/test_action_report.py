"""The published record of an action: what was promised, what came of it, and its whole story."""

from __future__ import annotations

import json

from sqlalchemy import Engine

from config.clock import ManualClock
from optimizers.action_report import action_run
from registry.agent_actions import ActionStore
from registry.agent_records import ActionState, Effect, Estimate, StartLimits, Verdict
from tests.services.agent_samples import action, proposal

LIMITS = StartLimits(max_concurrent=3, changes_per_hour=9, changes_per_day=9, cooldown_s=0.0)


def test_both_gains_are_told_with_their_intervals(ledger: Engine, clock: ManualClock) -> None:
    store = ActionStore(ledger, clock)
    proposed = store.propose(action(proposal(expected=Estimate(0.15, 0.05, 0.25))))
    begun = store.begin(store.claim(proposed.id, "somebody", 30.0), LIMITS)
    applied = store.move(begun, ActionState.APPLIED, "applied")
    effect = Effect(Verdict.IMPROVED, "it helped", gain=0.12, low=0.1, high=0.14)
    done = store.move(applied, ActionState.COMPLETED, "it helped", effect=effect)
    run = action_run(done, store.stories(done.id))
    assert {one.name: one.value for one in run.metrics} == {
        "predicted_gain": 0.15,
        "predicted_gain_low": 0.05,
        "predicted_gain_high": 0.25,
        "realised_gain": 0.12,
        "realised_gain_low": 0.1,
        "realised_gain_high": 0.14,
        "success_probability": done.decision.success_probability,
        "score": done.decision.score,
    }
    assert (run.tags["verdict"], run.tags["state"]) == ("improved", "completed")
    files = {one.name: json.loads(one.content) for one in run.artefacts}
    told = [entry["body"]["to"] for entry in files["story.json"]]
    assert told == ["scheduled", "intent", "applied", "completed"]
    assert files["story.json"][-1]["body"]["effect"]["high"] == 0.14, "the ledger has it too"
    assert files["action.json"]["proposal"]["change"] == {
        "knob": "serving.cache_entries",
        "before": 0,
        "after": 1000,
    }


def test_what_was_not_measured_is_left_out(ledger: Engine, clock: ManualClock) -> None:
    store = ActionStore(ledger, clock)
    ended = store.move(store.propose(action()), ActionState.REJECTED, "no")
    names = {one.name for one in action_run(ended, store.stories(ended.id)).metrics}
    assert not {name for name in names if name.startswith("realised")}
