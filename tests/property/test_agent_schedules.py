"""Random schedules keep limits, conflicts and approvals; and the check would see it if not."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.ledger.database import open_ledger
from tests.perf.random_schedules import MOST_RUNNING, RandomWorld
from tests.perf.schedules import play


def test_no_schedule_breaks_a_limit_a_conflict_or_an_approval() -> None:
    tally = play(seed=11, count=60)
    assert tally.violations == []
    assert tally.most_running == MOST_RUNNING
    assert tally.started > 60
    for limit in ("max_concurrent_actions", "shares", "changes_per_hour", "cooldown"):
        assert tally.refused[limit] > 0, "a limit that is never run into shows nothing"
    assert tally.started_with_approval > 5


@pytest.mark.parametrize(
    ("guard", "found"),
    [
        ("registry.agent_limits._refuse_conflicts", ("actions run", " share ")),
        ("optimizers.decision.approval_reason", ("without approval",)),
    ],
)
def test_a_guard_that_is_missing_is_found_out(
    guard: str, found: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, lambda *_: "")
    engine = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    world = RandomWorld(engine, seed=11)
    for _ in range(60):
        world.play()
    engine.dispose()
    for what in found:
        assert any(what in one for one in world.tally.violations), what
