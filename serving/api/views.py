"""What the agent is doing, has done and why: read from the stores, in the API's words.

Nothing here changes anything; `controls` does. The command line uses the same functions where no
API runs, so this imports no web framework. Every function raises LedgerUnavailable when the ledger
does not answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from config.clock import epoch, from_epoch
from config.errors import InputError
from registry.agent_records import (
    Action,
    ActionState,
    GoalProgress,
    Learned,
)
from registry.goals import default_goals, performance_score
from serving.api import action_answers as shape
from serving.api import measured
from serving.api.answers import (
    ActionStory,
    ActionSummary,
    AgentAnswer,
    EventAnswer,
    ExplainAnswer,
    FindingAnswer,
    GoalAnswer,
    GoalShort,
    Page,
    PauseAnswer,
    RecentAction,
    Stats,
    Status,
)
from serving.api.beats import STOPPED, Beat, beat_of, patience_s
from serving.api.explaining import as_proposed, explained
from serving.api.pages import page_of
from serving.api.stores import AgentStores
from serving.api.world_answers import CycleAnswer, LearnedAnswer

DOWN = "down"
PAUSED = "paused"


class NotFound(InputError):
    """There is nothing of that name."""


def status(stores: AgentStores) -> Status:
    """Return the agent at a glance, in the specification's words."""
    life = _life(stores)
    counts = stores.actions.counts()
    completed = counts.get(ActionState.COMPLETED, 0)
    failed = sum(counts.get(state, 0) for state in shape.UNSUCCESSFUL)
    return Status(
        state=life.state,
        uptime_seconds=life.uptime_seconds,
        pending_actions=sum(counts.get(state, 0) for state in shape.PENDING),
        active_actions=sum(counts.get(state, 0) for state in shape.ACTIVE),
        completed_actions=completed,
        goals=[_goal_short(one) for one in progress(stores)],
        stats=Stats(
            total_actions=completed + failed,
            successful_actions=completed,
            failed_actions=failed,
            total_improvement=stores.actions.total_improvement(),
        ),
    )


def agent(stores: AgentStores) -> AgentAnswer:
    """Return whether the agent lives, whether it is held, and what its loops do."""
    life = _life(stores)
    beat, safety = life.beat, stores.settings.safety
    return AgentAnswer(
        up=life.up,
        state=life.state,
        reason=_reason(stores, life),
        agent_id=beat.agent_id,
        pid=beat.pid,
        version=beat.version,
        started_at=shape.moment(beat.started_at),
        last_beat_at=shape.moment(beat.at),
        uptime_seconds=life.uptime_seconds,
        loops=dict(beat.loops),
        paused=life.held,
        score=performance_score(progress(stores)),
        automatic_actions=_told(beat.automatic, safety.enable_automatic_actions),
        simulation_mode=_told(beat.simulation, safety.simulation_mode),
        plugins_off=list(beat.plugins_off),
    )


def is_up(stores: AgentStores) -> bool:
    """Tell whether the agent has shown a sign of life lately."""
    return _life(stores).up


def _told(by_agent: bool | None, here: bool) -> bool:
    """The agent's own setting, which may be another than this process has."""
    return here if by_agent is None else by_agent


def paused(stores: AgentStores) -> PauseAnswer:
    """Return whether the agent is held, and by whom."""
    found = stores.control.paused(stores.home.pause_file)
    return PauseAnswer(
        paused=found.paused, by=found.by, reason=found.reason, at=shape.moment(found.at)
    )


def goals(stores: AgentStores) -> list[GoalAnswer]:
    """Return the goals that hold now, and how far each is reached."""
    return [_goal_answer(one) for one in progress(stores)]


def progress(stores: AgentStores) -> list[GoalProgress]:
    """Compare the goals with what was observed of their metrics lately."""
    wanted = stores.control.goals(default_goals(stores.settings.goals))
    return measured.goals(stores, wanted)


def recent_actions(
    stores: AgentStores, count: int = 10, after: str | None = None
) -> list[RecentAction]:
    """Return the newest actions, the newest first.

    Raises:
        InputError: there is no action `after`.
    """
    return [shape.recent(one) for one in stores.actions.list(None, after=after, limit=count)]


def actions(
    stores: AgentStores,
    states: Collection[ActionState] | None = None,
    *,
    type: str | None = None,  # noqa: A002 - the word of the API
    target: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[ActionSummary]:
    """Return one page of the actions, the newest first.

    Raises:
        InputError: there is no action `after`.
    """
    found = stores.actions.list(states, type=type, target=target, after=after, limit=limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return Page(items=[shape.summary(one) for one in page], next=page[-1].id if more else None)


def proposals(
    stores: AgentStores, after: str | None = None, limit: int = 100
) -> Page[ActionSummary]:
    """Return one page of what is proposed and has not begun, the newest first."""
    return actions(stores, shape.PENDING, after=after, limit=limit)


def action(stores: AgentStores, action_id: str) -> ActionStory:
    """Return everything known of an action.

    Raises:
        NotFound: there is none of that id.
    """
    found = known_action(stores, action_id)
    return shape.story(found, stores.actions.stories(action_id))


def explain(stores: AgentStores, action_id: str) -> ExplainAnswer:
    """Return why an action was decided as it was.

    Raises:
        NotFound: there is none of that id.
    """
    found = known_action(stores, action_id)
    kept = stores.findings.named(found.proposal.finding_ids)
    return explained(found, as_proposed(stores.actions.grounds(action_id), kept))


def known_action(stores: AgentStores, action_id: str) -> Action:
    """Return an action's record.

    Raises:
        NotFound: there is none of that id.
    """
    found = stores.actions.get(action_id)
    if found is None:
        raise NotFound(f"there is no action {action_id}; list them to see which there are")
    return found


def findings(
    stores: AgentStores, after: str | None = None, limit: int = 100, *, cleared: bool = False
) -> Page[FindingAnswer]:
    """Return one page of what was found and still holds, the newest first.

    Args:
        stores: where they are.
        after: the last finding of the page before.
        limit: the most findings.
        cleared: with those that do not hold any more.

    Raises:
        InputError: there is no finding `after`.
    """
    found = stores.findings.list(open_only=not cleared, after=after, limit=limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return Page(
        items=[shape.finding_answer(one) for one in page],
        next=page[-1].finding.id if more else None,
    )


def learned(stores: AgentStores, after: str | None = None, limit: int = 100) -> Page[LearnedAnswer]:
    """Return one page of what was learned, by type and target.

    Raises:
        InputError: there is no entry `after`.
    """
    found = sorted(stores.learning.all().values(), key=_learned_name)
    page, following = page_of(found, _learned_name, after, limit)
    return Page(items=[_learned_answer(one) for one in page], next=following)


def events(
    stores: AgentStores,
    *,
    kind: str | None = None,
    subject: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> Page[EventAnswer]:
    """Return one page of the ledger's entries, the oldest first."""
    found = stores.events.list(subject=subject, kind=kind, after=after, limit=limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return Page(items=[shape.event(one) for one in page], next=str(page[-1].id) if more else None)


def cycle(stores: AgentStores) -> CycleAnswer:
    """Return how the agent's last cycle of decisions went: why it does something, or nothing."""
    fact = stores.control.fact("cycle")
    value = fact.value if fact is not None and isinstance(fact.value, Mapping) else {}
    return CycleAnswer.model_validate(
        {"findings": 0, "proposed": [], "skipped": [], "troubles": []}
        | dict(value)
        | {"at": shape.moment(fact.at) if fact is not None else None}
    )


@dataclass(frozen=True, slots=True)
class _Life:
    """Whether the agent lives and may act."""

    beat: Beat
    held: PauseAnswer
    up: bool
    uptime_seconds: int

    @property
    def state(self) -> str:
        """In a word."""
        if not self.up:
            return DOWN
        return PAUSED if self.held.paused else self.beat.state


def _life(stores: AgentStores) -> _Life:
    now = epoch(stores.clock.now())
    fact = stores.control.fact("beat")
    beat = beat_of(fact.value, fact.at) if fact is not None else Beat()
    up = beat.is_fresh(now, stores.settings)
    seconds = int(now - beat.started_at) if up and beat.started_at is not None else 0
    return _Life(beat, paused(stores), up, seconds)


def _reason(stores: AgentStores, life: _Life) -> str:
    beat, held = life.beat, life.held
    if beat.at is None:
        return "no agent has run on this ledger yet; start one: prime-spark agent"
    if beat.state == STOPPED:
        return "the agent was stopped; start it: prime-spark agent"
    if not life.up:
        return (
            f"the agent has shown no sign of life for {patience_s(stores.settings):.0f} s; see its "
            "log, or start it: prime-spark agent"
        )
    if held.paused:
        return f"paused by {held.by or 'somebody'}" + (f": {held.reason}" if held.reason else "")
    return ""


def _goal_short(one: GoalProgress) -> GoalShort:
    goal = one.goal
    return GoalShort(
        metric=goal.metric_name,
        target=goal.target_value,
        current=one.current,
        achieved=one.achieved,
    )


def _goal_answer(one: GoalProgress) -> GoalAnswer:
    goal = one.goal
    return GoalAnswer(
        goal_id=goal.goal_id,
        metric_name=goal.metric_name,
        target_value=goal.target_value,
        current_value=one.current,
        direction=goal.direction.value,
        weight=goal.weight,
        achieved=one.achieved,
        progress=one.progress,
    )


def _learned_name(one: Learned) -> str:
    return f"{one.type} {one.target}"


def _learned_answer(one: Learned) -> LearnedAnswer:
    outcomes = one.successes + one.failures
    return LearnedAnswer(
        type=one.type,
        target=one.target,
        successes=one.successes,
        failures=one.failures,
        success_rate=one.successes / outcomes if outcomes > 0 else None,
        mean_improvement=one.mean if one.weight > 0 else None,
        updated_at=from_epoch(one.updated_at),
    )
