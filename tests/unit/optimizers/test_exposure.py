"""Exposure: all of what stays, a tenth of what is undone until undos were measured."""

from __future__ import annotations

import pytest

from config.settings import AgentSettings, SafetySettings, Settings
from optimizers.exposure import exposure_of, measured_exposure
from registry.agent_records import Action, ActionState
from tests.services.agent_samples import NOON, action, proposal


def undone(seconds: float, traffic: float | None = None) -> Action:
    parameters = {} if traffic is None else {"traffic_split": traffic}
    return action(
        proposal(parameters=parameters),
        state=ActionState.ROLLED_BACK,
        executed_at=NOON,
        finished_at=NOON + seconds,
    )


def test_a_reversible_change_has_the_setting_until_something_was_measured() -> None:
    assert exposure_of(proposal(), Settings()) == 0.1
    assert exposure_of(proposal(), Settings(agent=AgentSettings(exposure=0.3))) == 0.3
    assert measured_exposure(0.1, []) == 0.1


def test_what_cannot_or_must_not_be_undone_is_exposed_whatever_was_measured() -> None:
    never = Settings(safety=SafetySettings(rollback_on_failure=False))
    assert exposure_of(proposal(reversible=False), Settings(), 0.01) == 1.0
    assert exposure_of(proposal(), never, 0.01) == 1.0


def test_undos_move_it_by_the_share_of_a_day_and_of_traffic() -> None:
    half_day = undone(43_200.0)
    assert measured_exposure(0.1, [half_day]) == pytest.approx((0.4 + 0.5) / 5)
    assert measured_exposure(0.1, [undone(43_200.0, traffic=0.1)]) == pytest.approx(
        (0.4 + 0.05) / 5
    )


def test_it_stays_between_half_the_setting_and_all() -> None:
    assert measured_exposure(0.1, [undone(1.0)] * 1000) == 0.05
    assert measured_exposure(1.0, [undone(1e9)] * 1000) == 1.0


def test_only_undone_actions_with_both_times_count() -> None:
    done = action(state=ActionState.COMPLETED, executed_at=NOON, finished_at=NOON + 1e6)
    open_end = action(state=ActionState.ROLLED_BACK, executed_at=NOON)
    stepped_back = undone(-500.0)
    assert measured_exposure(0.1, [done, open_end]) == 0.1
    assert measured_exposure(0.1, [stepped_back]) == pytest.approx(0.08)


@pytest.mark.parametrize("split", [True, "all", None, float("nan")])
def test_a_traffic_split_that_is_no_number_counts_as_all(split: object) -> None:
    what = action(
        proposal(parameters={"traffic_split": split}),
        state=ActionState.ROLLED_BACK,
        executed_at=NOON,
        finished_at=NOON + 86_400.0,
    )
    assert measured_exposure(0.1, [what]) == pytest.approx((0.4 + 1.0) / 5)
