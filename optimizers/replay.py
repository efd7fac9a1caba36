"""What would have been done: recorded observations through the live engine, other settings. Pure.

Every optimise cycle of the past is planned again by `plan_cycle` from what had been seen until
then. Limits, cooldowns, budgets, windows and conflicts are lived through as they would have been.

What this does not promise: the world did not react, so an action changes nothing of what is seen
later. It counts as done after its settle and verify time, with its outcome unknown and nothing
learned. The same advice, raised again while its cause lasts, is counted with the first. Facts that
are not numbers (such as the registry's versions) are not recorded, so what rests on them is silent;
and so are rules that ask for several samples where only means of five minutes or an hour are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from config.errors import InputError
from config.ids import SeededIds
from config.settings import Settings
from optimizers.admission import SkipKind, Skipped
from optimizers.capability import Capability
from optimizers.detection import find_missed_goals, find_past_limits
from optimizers.explain import Explanation, explain_cycle
from optimizers.maintenance import clock_text
from optimizers.planning import CycleResult, plan_cycle
from optimizers.recorded import Recording, Series
from optimizers.view import View
from registry.agent_records import Action, ActionState, Direction, Goal, Observation
from registry.goals import History, measure_goals, performance_score

# Every cycle sees this much of the past, as the agent's own view does.
WINDOW_S = 3600.0
_DAY_S = 86_400.0
_MOST_CYCLES = 100_000
# More than this, of what is done and of what is not, is not told one by one.
_MOST_TOLD = 1_000
_ACTED = frozenset({ActionState.SCHEDULED.value, ActionState.WAITING_APPROVAL.value})


@dataclass(frozen=True, slots=True)
class Told:
    """What would have become of a proposal at a time; `again`: how often more while it lasted."""

    at: float
    explanation: Explanation
    again: int = 0

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON."""
        return {"at": self.at, "again": self.again, **self.explanation.to_dict()}

    def to_text(self) -> str:
        """Return it in lines for a person to read."""
        again = f" (and {self.again} times more while it lasted)" if self.again else ""
        return f"{clock_text(self.at)}{again}\n{self.explanation.to_text()}"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay found.

    Attributes:
        would: what would have been done, or asked about, oldest first.
        not_done: what would not, with the reason; without what was being done already.
        left_out: how many proposals were not acted on in their cycle, by reason.
        findings: how many cycles each rule spoke in.
        troubles: sentences of capabilities that failed.
    """

    since: float
    until: float
    cycles: int
    would: tuple[Told, ...] = ()
    not_done: tuple[Told, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    findings: Mapping[str, int] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON."""
        return {
            "since": self.since,
            "until": self.until,
            "cycles": self.cycles,
            "would": [one.to_dict() for one in self.would],
            "not_done": [one.to_dict() for one in self.not_done],
            "left_out": dict(self.left_out),
            "findings": dict(self.findings),
            "troubles": list(self.troubles),
        }

    def to_text(self) -> str:
        """Return it in lines for a person to read."""
        span = f"{clock_text(self.since)} to {clock_text(self.until)}"
        lines = [f"{span}: cycles {self.cycles}, actions {len(self.would)}"]
        lines += [one.to_text() for one in (*self.would, *self.not_done)]
        lines += [f"left out, {kind}: {count}" for kind, count in sorted(self.left_out.items())]
        return "\n".join([*lines, *self.troubles])


def replay(
    history: Mapping[Series, Sequence[Observation]],
    capabilities: Sequence[Capability],
    settings: Settings,
    *,
    since: float,
    until: float,
    start: View | None = None,
) -> ReplayResult:
    """Plan every optimise cycle from `since` to `until` again.

    Args:
        history: all that was observed, with `WINDOW_S` before `since`.
        capabilities: those the agent would have.
        settings: the settings to try; simulation mode is left aside, since nothing is done anyway.
        since: first cycle, seconds since the epoch.
        until: no cycle after this.
        start: holds what was learned, held and declined; nothing else of it is used.

    Raises:
        InputError: the span is empty, or longer than 100,000 cycles.
    """
    step = settings.monitoring.optimization_interval_seconds
    _check_span(since, until, step)
    safety = settings.safety.model_copy(update={"simulation_mode": False})
    world = _World(settings.model_copy(update={"safety": safety}))
    recording, known, ids = Recording(history), start or View(since), SeededIds(0)
    cycles, at = 0, since
    while at <= until:
        world.pass_time(at)
        view = _seen(recording.window(at, WINDOW_S), at, world, known)
        world.take(plan_cycle(view, capabilities, world.settings, ids), at)
        cycles += 1
        at = since + cycles * step
    return world.result(since, until, cycles)


def _seen(history: History, at: float, world: _World, known: View) -> View:
    """What the agent would have known: numbers, goals and what is past a limit."""
    goals = measure_goals(world.goals, history, at)
    view = View(
        at=at,
        history=history,
        goals=goals,
        score=performance_score(goals),
        actions=tuple(world.actions),
        learned=known.learned,
        held=known.held,
        declined=known.declined,
    )
    return replace(view, findings=[*find_past_limits(view), *find_missed_goals(goals, at)])


def _check_span(since: float, until: float, step: float) -> None:
    if not since <= until:
        raise InputError("the replay ends before it begins; give a span such as 7d")
    if (until - since) / step > _MOST_CYCLES:
        raise InputError(f"the replay has more than {_MOST_CYCLES} cycles; give a shorter span")


class _World:
    """The actions of a replay as they come and go, and what is told of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.goals = [
            Goal(
                one.metric_name,
                one.metric_name,
                one.target_value,
                Direction(one.direction),
                one.weight,
            )
            for one in settings.goals
        ]
        self.actions: list[Action] = []
        self._would: list[Told] = []
        self._not_done: list[Told] = []
        self._lasting: dict[tuple[str, str], int] = {}
        self._left_out: Counter[str] = Counter()
        self._findings: Counter[str] = Counter()
        self._troubles: dict[str, None] = {}

    def pass_time(self, at: float) -> None:
        """End what has ended by then, and forget what ended more than a day ago."""
        agent = self.settings.agent
        lasts_s = agent.settle_seconds + agent.verify_seconds
        ended = (self._ended(one, at, lasts_s) for one in self.actions)
        self.actions = [one for one in ended if at - (one.finished_at or at) < _DAY_S]

    def _ended(self, action: Action, at: float, lasts_s: float) -> Action:
        waits_s = self.settings.agent.approval_expires_seconds
        state, end = ActionState.COMPLETED, action.created_at + lasts_s
        if action.state is ActionState.WAITING_APPROVAL:
            state, end = ActionState.EXPIRED, action.created_at + waits_s
        if action.state.final or end > at:
            return action
        return replace(action, state=state, finished_at=end)

    def take(self, result: CycleResult, at: float) -> None:
        """Begin what a cycle planned, and note what it left out."""
        for one in result.actions:
            waits = one.state is ActionState.WAITING_APPROVAL
            begun = replace(one, state=ActionState.VERIFYING, executed_at=at)
            self.actions.append(one if waits else begun)
        for explained in explain_cycle(result):
            self._tell(explained, at)
        self._left_out.update(one.kind.value for one in result.skipped)
        self._findings.update({one.rule for one in result.findings})
        self._troubles.update(dict.fromkeys(one.text for one in result.troubles))
        raised = _raised(result.actions, result.skipped)
        lasting = self._lasting.items()
        self._lasting = {name: place for name, place in lasting if name[0] in raised}

    def _tell(self, explained: Explanation, at: float) -> None:
        if explained.outcome == SkipKind.KNOWN:
            return
        acted = explained.outcome in _ACTED
        told = self._would if acted else self._not_done
        name = (explained.proposal.advice_id, "" if acted else explained.outcome)
        place = self._lasting.get(name)
        if place is not None:
            told[place] = replace(told[place], again=told[place].again + 1)
        elif len(told) < _MOST_TOLD:
            self._lasting[name] = len(told)
            told.append(Told(at, explained))

    def result(self, since: float, until: float, cycles: int) -> ReplayResult:
        """What is told at the end."""
        return ReplayResult(
            since,
            until,
            cycles,
            tuple(self._would),
            tuple(self._not_done),
            dict(self._left_out),
            dict(self._findings),
            tuple(self._troubles),
        )


def _raised(actions: Sequence[Action], skipped: Sequence[Skipped]) -> set[str]:
    followed = {one.proposal.advice_id for one in actions}
    return followed | {one.proposal.advice_id for one in skipped}
