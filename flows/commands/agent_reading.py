"""Commands that show the agent: status, actions, show, explain, targets, findings, learn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from flows.commands.agent_side import ActionQuery, AgentSide, open_side
from flows.commands.output import EXIT_FAILED, cell, show_table, write_json
from flows.commands.world import CommandWorld

if TYPE_CHECKING:
    from serving.api.answers import (
        ActionResult,
        ActionStory,
        ActionSummary,
        DecisionAnswer,
        EstimateAnswer,
        GoalAnswer,
        Page,
    )

Item = TypeVar("Item")

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
ActionId = Annotated[str, typer.Argument(help="Id of the action; see `prime-spark actions`.")]


@contextmanager
def asking(context: typer.Context) -> Iterator[AgentSide]:
    """Give who answers for the agent, and close it in the end."""
    world: CommandWorld = context.obj
    side = open_side(world)
    try:
        yield side
    finally:
        side.close()


def status(
    context: typer.Context,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.05, help="With --watch: seconds between.")] = 2.0,
    times: Annotated[
        int, typer.Option(min=0, help="With --watch: end after so many; 0: never.")
    ] = 0,
) -> None:
    """Show what the agent is doing. Exits with 1 while no agent runs.

    With --watch and --json, each look is one answer.
    """
    from flows.commands.agent_screen import show_status

    with asking(context) as side:
        up = show_status(side, as_json=as_json, live=watch)
        looks = 1
        while watch and looks != times:
            time.sleep(every)
            up = show_status(side, as_json=as_json, live=True)
            looks += 1
    if not up:
        raise typer.Exit(EXIT_FAILED)


def actions(  # noqa: PLR0913, PLR0917 - one parameter is one option of the command
    context: typer.Context,
    as_json: Json = False,
    state: Annotated[
        list[str] | None, typer.Option(help="Only in this state, as waiting_approval; repeatable.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    target: Annotated[str | None, typer.Option(help="Only on this target.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="Most rows.")] = 20,
    after: Annotated[str | None, typer.Option(help="Go on after this action.")] = None,
) -> None:
    """List the agent's actions, the newest first."""
    with asking(context) as side:
        page = side.actions(ActionQuery(tuple(state or ()), type_, target, after, limit))
    if as_json:
        write_json(page.model_dump(mode="json"))
        return
    show_table(
        ("action", "state", "type", "target", "success", "gain", "when", "what"),
        [
            (
                one.action_id,
                one.status,
                one.type,
                one.target,
                _success(one),
                _gain(one),
                one.executed_at or one.created_at,
                one.description,
            )
            for one in page.items
        ],
        unbroken={"action"},
        empty="no such actions; the agent proposes some when it finds something to improve",
    )
    if page.next is not None:
        typer.echo(f"there are more; go on with --after {page.next}")


def show(context: typer.Context, action_id: ActionId, as_json: Json = False) -> None:
    """Show everything known of an action, and what happened to it."""
    with asking(context) as side:
        story = side.action(action_id)
    if as_json:
        write_json(story.model_dump(mode="json"))
        return
    write_facts(story)
    show_table(
        ("entry", "when", "kind", "what"),
        [(one.id, one.at, one.kind, _in_words(one.body)) for one in story.events],
        empty="nothing has happened to it yet",
    )


def explain(context: typer.Context, action_id: ActionId, as_json: Json = False) -> None:
    """Show why an action was decided as it was, and what would change the decision."""
    with asking(context) as side:
        answer = side.explain(action_id)
    if as_json:
        write_json(answer.model_dump(mode="json"))
        return
    typer.echo(answer.text)
    typer.echo(f"Formula: {answer.formula}")


def findings(context: typer.Context, as_json: Json = False) -> None:
    """List what the agent has found and still holds, the newest first."""
    with asking(context) as side:
        found = everything(side.findings)
    if as_json:
        write_json([one.model_dump(mode="json") for one in found])
        return
    show_table(
        ("severity", "target", "rule", "since", "what"),
        [(one.severity, one.target, one.rule, one.first_at, one.text) for one in found],
        empty="nothing was found",
    )


def learn(context: typer.Context, as_json: Json = False) -> None:
    """Show what the agent has learned of each type of action, on each target and on all."""
    with asking(context) as side:
        found = everything(side.learned)
    if as_json:
        write_json([one.model_dump(mode="json") for one in found])
        return
    show_table(
        ("type", "target", "verified", "successes", "success rate", "mean gain", "since"),
        [
            (
                one.type,
                one.target or "(all)",
                one.successes + one.failures,
                one.successes,
                percent(one.success_rate),
                percent(one.mean_improvement),
                one.updated_at,
            )
            for one in found
        ],
        empty="nothing was learned yet; each verified action teaches once",
    )


def everything(pages: Callable[[str | None], Page[Item]]) -> list[Item]:
    """Return all items of a list that comes in pages."""
    page = pages(None)
    found = list(page.items)
    while page.next is not None:
        page = pages(page.next)
        found += page.items
    return found


def percent(share: float | None) -> str | None:
    """Return a share as a reader wants to see it; None for what is not known."""
    return None if share is None else f"{share:.1%}"


def goal_row(goal: GoalAnswer) -> tuple[object, ...]:
    """Return a goal as the tables show it."""
    wanted = "≤" if goal.direction == "minimize" else "≥"
    return (
        goal.goal_id,
        goal.metric_name,
        f"{wanted} {goal.target_value:g}",
        goal.current_value,
        goal.achieved if goal.current_value is not None else None,
        percent(goal.progress),
        goal.weight,
    )


GOAL_COLUMNS = ("goal", "metric", "wanted", "now", "achieved", "progress", "weight")


def write_facts(story: ActionStory) -> None:
    """Write what an action is and where it stands to standard output."""
    for name, value in _facts(story):
        typer.echo(f"{name:<22} {cell(value)}")


def _facts(story: ActionStory) -> Iterator[tuple[str, object]]:
    proposal, decision = story.proposal, story.decision
    yield "action", story.action_id
    yield "what", f"{story.type} on {story.target}: {story.description}"
    yield "state", f"{story.status}: {story.reason}"
    yield "priority, risk", f"{story.priority}, {story.risk:g}"
    yield "expected improvement", _interval(story.expected_improvement)
    yield "success probability", _success(decision)
    yield "score", f"{decision.score:.4g} (expected value {decision.expected_value:.4g})"
    if proposal.change is not None:
        change = proposal.change
        yield "change", f"{change.knob}: {change.before} → {change.after}"
    yield "reversible", story.reversible
    yield "needs approval", decision.approval or "no"
    yield "approved by", story.approved_by
    yield "proposed", story.created_at
    yield "started", story.executed_at
    yield "ended", story.finished_at
    if story.effect is not None:
        yield "verdict", f"{story.effect.verdict}: {story.effect.reason}"
        yield "measured improvement", _measured(story.result)
    yield "digest", proposal.digest
    yield "flow run", story.flow_run_id
    yield "MLflow run", story.run_id


def _gain(one: ActionSummary) -> str:
    measured = _measured(one.result)
    if measured is not None:
        return measured
    return f"{one.expected_improvement.mean:.1%} expected"


def _success(one: ActionSummary | DecisionAnswer) -> str:
    low, high = percent(one.success_low), percent(one.success_high)
    return f"{percent(one.success_probability)} ({low} to {high})"


def _interval(estimate: EstimateAnswer) -> str:
    return f"{estimate.mean:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _measured(result: ActionResult | None) -> str | None:
    return percent(result.actual_improvement) if result is not None else None


def _in_words(body: Mapping[str, object]) -> str:
    before, after = body.get("from"), body.get("to")
    if after is not None:
        return f"{before or 'new'} → {after}: {body.get('reason', '')}"
    simple = {name: value for name, value in body.items() if not isinstance(value, dict | list)}
    return ", ".join(f"{name} {value}" for name, value in simple.items() if value is not None)
