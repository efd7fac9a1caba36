"""One cycle: what is scheduled, what waits, what is left out and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ConfigError
from config.ids import SeededIds
from config.settings import AgentSettings, SafetySettings, Settings, ThresholdSettings
from optimizers.admission import MOST_WAITING, SkipKind
from optimizers.planning import CycleResult, plan_cycle
from optimizers.view import View
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Estimate,
    Finding,
    Learned,
    Observation,
    Priority,
    Proposal,
    TargetHealth,
)
from tests.services.agent_samples import (
    NOON,
    SampleCapability,
    action,
    numbered,
    proposal,
)

S = ActionState
VIEW = View(at=NOON)


def cycle(*proposals: Proposal, view: View = VIEW, settings: Settings | None = None) -> CycleResult:
    capability = SampleCapability(proposals)
    return plan_cycle(view, [capability], settings or Settings(), SeededIds(1))


def past(what: Proposal | None = None, **parts: object) -> View:
    return replace(VIEW, actions=(replace(action(what), **parts),))  # type: ignore[arg-type]


def skipped(result: CycleResult) -> list[tuple[str, SkipKind]]:
    return [(one.proposal.advice_id, one.kind) for one in result.skipped]


def test_a_good_proposal_is_scheduled_at_once_with_its_numbers() -> None:
    result = cycle(proposal())
    (one,) = result.actions
    assert (one.state, one.due_at, one.created_at) == (S.SCHEDULED, NOON, NOON)
    assert one.proposal == proposal()
    assert one.decision.run
    assert one.decision.expected_value == pytest.approx(0.12)
    assert [found.rule for found in result.findings] == ["sample"]
    assert (result.skipped, result.troubles) == ((), ())


def test_without_findings_nothing_is_proposed() -> None:
    capability = SampleCapability([proposal()], metric="cache_hit_rate")
    result = plan_cycle(VIEW, [capability], Settings(), SeededIds(1))
    assert result == CycleResult()


def test_the_same_view_gives_the_same_cycle() -> None:
    assert cycle(numbered(1), numbered(2)) == cycle(numbered(1), numbered(2))


def test_what_the_formula_refuses_is_left_with_the_missed_criteria() -> None:
    result = cycle(proposal(expected=Estimate(0.01, 0.01, 0.01)))
    (one,) = result.skipped
    assert one.kind is SkipKind.REFUSED
    assert one.reason.startswith("expected value 0.8 %")
    assert one.decision is not None
    assert result.actions == ()


def test_critical_and_risky_proposals_wait_for_a_person() -> None:
    result = cycle(numbered(1, priority=Priority.CRITICAL), numbered(2, risk=0.75))
    assert [one.state for one in result.actions] == [S.WAITING_APPROVAL] * 2
    assert [one.decision.approval != "" for one in result.actions] == [True, True]


def test_in_simulation_everything_is_only_simulated_and_only_once() -> None:
    settings = Settings(safety=SafetySettings(simulation_mode=True))
    result = cycle(numbered(1), numbered(2, priority=Priority.CRITICAL), settings=settings)
    assert [one.state for one in result.actions] == [S.SIMULATED] * 2
    again = cycle(proposal(), view=past(state=S.SIMULATED), settings=settings)
    assert skipped(again) == [("cache_resize-1", SkipKind.KNOWN)]
    assert cycle(proposal(), view=past(state=S.SIMULATED)).actions


@pytest.mark.parametrize("state", [s for s in S if not s.final] + [S.HANDED_OVER])
def test_advice_that_is_being_followed_or_was_handed_over_is_not_given_again(
    state: ActionState,
) -> None:
    result = cycle(proposal(), view=past(state=state))
    assert skipped(result) == [("cache_resize-1", SkipKind.KNOWN)]
    assert "action-1" in result.skipped[0].reason


def test_declined_advice_waits_until_its_gain_has_doubled() -> None:
    view = replace(VIEW, declined={"cache_resize-1": 0.1})
    (one,) = cycle(proposal(), view=view).skipped
    assert (one.kind, one.reason) == (
        SkipKind.DECLINED,
        "declined at an expected gain of 0.1; it is raised again from 0.2 on, now 0.15",
    )
    assert cycle(proposal(expected=Estimate(0.2, 0.2, 0.2)), view=view).actions


def test_the_agent_steps_aside_for_a_held_knob() -> None:
    view = replace(VIEW, held={("serving", "serving.cache_entries"): "set by ada"})
    (one,) = cycle(proposal(), view=view).skipped
    assert (one.kind, one.reason) == (
        SkipKind.HELD,
        "the agent has stepped aside for serving.cache_entries: set by ada",
    )


def test_nothing_is_done_to_a_target_that_does_not_answer() -> None:
    view = replace(VIEW, health={"serving": TargetHealth("serving", False, NOON, 5.0, "timeout")})
    assert skipped(cycle(proposal(), view=view)) == [("cache_resize-1", SkipKind.UNHEALTHY)]


def test_a_cooldown_holds_for_its_capability_and_target_only() -> None:
    view = past(proposal(advice_id="other"), state=S.COMPLETED, executed_at=NOON - 100)
    assert skipped(cycle(proposal(), view=view)) == [("cache_resize-1", SkipKind.COOLDOWN)]
    assert cycle(proposal(target="elsewhere"), view=view).actions
    over = past(proposal(advice_id="other"), state=S.COMPLETED, executed_at=NOON - 300)
    assert cycle(proposal(), view=over).actions


def test_of_two_proposals_in_conflict_the_better_goes_first() -> None:
    better = numbered(1, expected=Estimate(0.3, 0.3, 0.3), conflicts=("cpu",))
    result = cycle(numbered(2, conflicts=("cpu",)), better)
    assert [one.proposal.advice_id for one in result.actions] == ["advice-1"]
    (one,) = result.skipped
    assert (one.kind, one.proposal.advice_id) == (SkipKind.CONFLICT, "advice-2")
    assert "it shares cpu with advice advice-1" in one.reason


def test_a_running_action_keeps_others_off_its_goal_metric() -> None:
    view = past(numbered(1, goal_metric="cache_hit_rate"), state=S.VERIFYING)
    assert skipped(cycle(proposal(), view=view)) == [("cache_resize-1", SkipKind.CONFLICT)]
    waiting = past(numbered(1, goal_metric="cache_hit_rate"), state=S.WAITING_APPROVAL)
    assert cycle(proposal(), view=waiting).actions


def test_no_more_are_scheduled_than_may_run() -> None:
    result = cycle(*(numbered(number) for number in range(5)))
    assert len(result.actions) == 3
    assert [kind for _, kind in skipped(result)] == [SkipKind.FULL] * 2


def test_running_actions_count_among_those_that_may_run() -> None:
    view = replace(VIEW, actions=(action(numbered(9), state=S.APPLIED),))
    result = cycle(
        numbered(1),
        numbered(2),
        view=view,
        settings=Settings(thresholds=ThresholdSettings(max_concurrent_actions=2)),
    )
    assert len(result.actions) == 1


def test_the_budget_ends_scheduling() -> None:
    settings = Settings(agent=AgentSettings(changes_per_hour=1, cooldown_seconds=0.0))
    result = cycle(numbered(1), numbered(2), settings=settings)
    assert [kind for _, kind in skipped(result)] == [SkipKind.BUDGET]
    used = past(numbered(9), state=S.COMPLETED, executed_at=NOON - 60)
    assert skipped(cycle(numbered(1), view=used, settings=settings)) == [
        ("advice-1", SkipKind.BUDGET)
    ]


def test_outside_the_windows_only_critical_actions_begin() -> None:
    settings = Settings(
        agent=AgentSettings(maintenance_windows=("Mon-Fri 22:00-06:00",)),
        safety=SafetySettings(require_approval_for_critical=False),
    )
    result = cycle(numbered(1), numbered(2, priority=Priority.CRITICAL), settings=settings)
    assert [one.proposal.advice_id for one in result.actions] == ["advice-2"]
    assert result.skipped[0].kind is SkipKind.WINDOW
    assert "2026-01-05 22:00 UTC" in result.skipped[0].reason


def test_what_waits_for_a_person_is_due_when_the_window_opens() -> None:
    settings = Settings(
        agent=AgentSettings(maintenance_windows=("22:00-06:00",)),
        safety=SafetySettings(enable_automatic_actions=False),
    )
    (one,) = cycle(proposal(), settings=settings).actions
    assert one.due_at == NOON + 36_000.0


def test_a_window_that_cannot_be_read_is_a_setting_to_mend() -> None:
    with pytest.raises(ConfigError, match="maintenance_windows"):
        cycle(settings=Settings(agent=AgentSettings(maintenance_windows=("always",))))


def test_a_person_is_not_flooded() -> None:
    settings = Settings(safety=SafetySettings(enable_automatic_actions=False))
    result = cycle(*(numbered(number) for number in range(MOST_WAITING + 5)), settings=settings)
    assert len(result.actions) == MOST_WAITING
    assert {kind for _, kind in skipped(result)} == {SkipKind.FULL}
    waiting = [
        action(numbered(number), state=S.WAITING_APPROVAL) for number in range(MOST_WAITING - 1)
    ]
    fresh = (numbered(number) for number in range(200, 203))
    more = cycle(*fresh, view=replace(VIEW, actions=waiting), settings=settings)
    assert len(more.actions) == 1


def test_the_same_advice_twice_in_a_cycle_is_followed_once() -> None:
    manual = Settings(safety=SafetySettings(enable_automatic_actions=False))
    for settings in (Settings(), manual):
        result = cycle(proposal(), proposal(), settings=settings)
        assert len(result.actions) == 1
        assert skipped(result) == [("cache_resize-1", SkipKind.KNOWN)]


def test_what_was_learned_and_measured_is_used() -> None:
    bad = Learned("cache_resize", "serving", 0.0, 50.0, -0.1, 50.0, 0.0, NOON)
    view = replace(VIEW, learned={("cache_resize", "serving"): bad})
    assert skipped(cycle(proposal(), view=view)) == [("cache_resize-1", SkipKind.REFUSED)]
    undone = replace(
        action(numbered(1)),
        state=S.ROLLED_BACK,
        executed_at=NOON - 86_400.0,
        finished_at=NOON,
    )
    (one,) = cycle(proposal(), view=replace(VIEW, actions=(undone,))).actions
    assert one.decision.exposure == pytest.approx((0.4 + 1.0) / 5)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"type": "other"}, "another carries out"),
        ({"advice_id": ""}, "without advice id"),
        ({"risk": 1.5}, "risk 1.5"),
        ({"risk": float("nan")}, "not finite"),
        ({"expected": Estimate(float("nan"), 0.0, 0.1)}, "not finite"),
        ({"expected": Estimate(0.2, 0.3, 0.4)}, "outside its own interval"),
        ({"change": Change("knob", 5, 5)}, "changes nothing"),
    ],
)
def test_what_cannot_be_proposed_is_a_trouble_and_nothing_more(
    parts: dict[str, object], fault: str
) -> None:
    result = cycle(proposal(**parts), numbered(1))
    assert fault in result.troubles[0].text
    assert [one.proposal.advice_id for one in result.actions] == ["advice-1"]


class Broken(SampleCapability):
    def detect(self, view: View) -> list[Finding]:  # noqa: ARG002
        raise RuntimeError("no such fact")


def test_a_capability_that_fails_does_not_stop_the_others() -> None:
    broken = Broken([], type="broken")
    result = plan_cycle(VIEW, [broken, SampleCapability([proposal()])], Settings(), SeededIds(1))
    assert [one.text for one in result.troubles] == ["broken failed: RuntimeError: no such fact"]
    assert len(result.actions) == 1


def test_nothing_is_proposed_from_stale_data() -> None:
    seen = Observation("serving", "cache_hit_rate", 0.9, NOON)
    view = replace(VIEW, history={("serving", "cache_hit_rate"): [seen]})
    capability = SampleCapability([proposal()], metric="cache_hit_rate", limit=0.95)
    assert not plan_cycle(view, [capability], Settings(), SeededIds(1)).findings
    low = replace(capability, limit=0.5)
    assert plan_cycle(view, [low], Settings(), SeededIds(1)).actions


some_proposals = st.lists(
    st.builds(
        numbered,
        st.integers(0, 6),
        priority=st.sampled_from(list(Priority)),
        risk=st.floats(0.0, 1.0),
        expected=st.floats(-0.2, 1.0).map(lambda mean: Estimate(mean, mean, mean)),
        reversible=st.booleans(),
        conflicts=st.lists(st.sampled_from(["a", "b", "c"]), max_size=2).map(tuple),
    ),
    max_size=12,
)
some_past = st.lists(
    st.builds(
        lambda number, state, ago: action(
            numbered(number), id=f"action-{number}", state=state, executed_at=NOON - ago
        ),
        st.integers(0, 9),
        st.sampled_from(list(S)),
        st.floats(0.0, 5000.0),
    ),
    max_size=4,
)


@given(some_proposals, some_past)
def test_every_proposal_ends_in_one_place_and_no_limit_is_passed(
    proposals: list[Proposal], actions: list[Action]
) -> None:
    settings = Settings()
    result = cycle(*proposals, view=replace(VIEW, actions=actions))
    assert len(result.actions) + len(result.skipped) == len(proposals)
    scheduled = [one for one in result.actions if one.state is S.SCHEDULED]
    running = [one for one in actions if one.state.in_flight or one.state is S.SCHEDULED]
    if scheduled:
        assert len(scheduled) + len(running) <= settings.thresholds.max_concurrent_actions
    taken: set[str] = set().union(*(one.proposal.domains for one in running))
    for one in scheduled:
        assert not taken & one.proposal.domains
        taken |= one.proposal.domains
        assert one.decision.run
        assert one.proposal.priority is not Priority.CRITICAL
        assert one.proposal.risk <= 0.7
