"""Carries out the action of docs/extending.md on a real ledger: python extension_run.py EFFECT.

Run in a folder where the page's package can be imported; EFFECT is the share of the queue that is
left with twice the workers. Prints the action's state and reason. What is of the page is known by
its entry points alone.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from config.clock import ManualClock
from config.ids import SeededIds
from config.settings import Settings
from optimizers.capability import Job, JobState, Tools
from optimizers.execution import run_action
from optimizers.execution_desk import ActionDesk
from optimizers.planning import plan_cycle
from optimizers.plugins import Installed, PluginContext, load_all
from optimizers.view import View
from registry.agent_actions import ActionStore
from registry.agent_control import ControlStore
from registry.agent_learning import LearningStore
from registry.agent_records import Observation
from registry.ledger.database import open_ledger


class _NoJobs:
    def start(self, *_: object, **__: object) -> Job:
        raise AssertionError("a change of a knob starts no job")

    def find(self, *_: object) -> Job:
        return Job(JobState.UNKNOWN)

    def cancel(self, *_: object) -> None:
        raise AssertionError("a change of a knob starts no job")


def main(effect: float) -> None:
    """Plan, carry out, print."""
    clock = ManualClock(datetime(2026, 1, 5, 12, tzinfo=UTC))
    settings = Settings.model_validate({"agent": {"targets": ["inbox"]}})
    installed = load_all(PluginContext(settings, clock))
    inbox = installed.targets["inbox"]
    now = clock.now().timestamp()
    seen = [inbox.observe(now - 30.0 * step, 5.0).observations for step in range(10)]
    history: dict[tuple[str, str], list[Observation]] = {}
    for one in (one for look in reversed(seen) for one in look):
        history.setdefault((one.target, one.metric), []).append(one)
    view = View(at=now, history=history)
    cycle = plan_cycle(view, installed.capabilities.values(), settings, SeededIds(1))
    [action] = [one for one in cycle.actions if one.proposal.type == "inbox_scale_out"]
    desk = _desk(settings, clock, installed, _queue(installed, effect))
    desk.actions.propose(action)
    done = run_action(desk, action.id, "test")
    print(done.state, "|", done.effect.verdict if done.effect else "", "|", done.reason)


def _queue(installed: Installed, effect: float) -> Callable[[str, Sequence[str]], dict[str, float]]:
    """A noisy queue that is shorter by the effect while there are four workers."""
    noise, inbox = random.Random(1), installed.targets["inbox"]

    def sample(_target: str, metrics: Sequence[str]) -> dict[str, float]:
        share = effect if inbox.read("inbox.workers") == 4 else 1.0
        return {one: 150.0 * share * noise.uniform(0.95, 1.05) for one in metrics}

    return sample


def _desk(
    settings: Settings,
    clock: ManualClock,
    installed: Installed,
    sample: Callable[[str, Sequence[str]], dict[str, float]],
) -> ActionDesk:
    engine = open_ledger(f"sqlite:///{Path.cwd()}/ledger-{sys.argv[1]}.db")
    return ActionDesk(
        actions=ActionStore(engine, clock),
        control=ControlStore(engine, clock),
        learning=LearningStore(engine, clock),
        capabilities=installed.capabilities,
        tools=Tools(installed.targets, _NoJobs(), clock, clock.advance, sample),
        settings=settings,
        clock=clock,
        paused=lambda: False,
        publish=lambda _action: "run",
    )


if __name__ == "__main__":
    main(float(sys.argv[1]))
