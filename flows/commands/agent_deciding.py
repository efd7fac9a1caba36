"""Commands by which people steer the agent: approve, reject, pause, resume, goals, targets."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from config.errors import InputError
from flows.commands.agent_reading import (
    GOAL_COLUMNS,
    ActionId,
    Json,
    asking,
    everything,
    goal_row,
    write_facts,
)
from flows.commands.output import show_table, write_json
from flows.commands.world import CommandWorld

if TYPE_CHECKING:
    from serving.api.answers import GoalAnswer, GoalQuestion, PauseAnswer

Note = Annotated[str, typer.Option("--note", help="Why, for the record.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Digest = Annotated[
    str | None,
    typer.Option(help="The proposal you have seen; it is refused if it is another by now."),
]


class Way(StrEnum):
    """Which way a metric is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


def approve(
    context: typer.Context,
    action_id: ActionId,
    note: Note = "",
    yes: Yes = False,
    digest: Digest = None,
    as_json: Json = False,
) -> None:
    """Approve a waiting action, after showing why it is proposed.

    The approval holds for exactly the proposal that is shown, takes effect once, and expires.
    """
    _decide(context, action_id, note, approved=True, sure=yes, digest=digest, as_json=as_json)


def reject(
    context: typer.Context,
    action_id: ActionId,
    note: Note = "",
    digest: Digest = None,
    as_json: Json = False,
) -> None:
    """Reject a waiting action. Its advice is not given again until it promises twice as much."""
    _decide(context, action_id, note, approved=False, sure=True, digest=digest, as_json=as_json)


def pause(
    context: typer.Context,
    reason: Annotated[str, typer.Argument(help="Why, for the record.")] = "",
    as_json: Json = False,
) -> None:
    """Stop the agent: no new effect from now on; what is under way is brought to a safe state."""
    with asking(context) as side:
        answer = side.pause(reason)
    _tell_pause(answer, as_json=as_json)


def resume(context: typer.Context, as_json: Json = False) -> None:
    """Let the agent act again; takes away the pause file, too."""
    with asking(context) as side:
        answer = side.resume()
    _tell_pause(answer, as_json=as_json)


goals = typer.Typer(invoke_without_command=True, help="Show the goals, or change them.")


@goals.callback()
def goals_list(context: typer.Context, as_json: Json = False) -> None:
    """Show the goals and how far each is reached."""
    if context.invoked_subcommand is None:
        with asking(context) as side:
            _show_goals(side.goals(), as_json=as_json)


@goals.command("set")
def goals_set(  # noqa: PLR0913, PLR0917 - one parameter is one option of the command
    context: typer.Context,
    metric: Annotated[str, typer.Argument(help="Name of the metric.")],
    value: Annotated[float, typer.Argument(help="The value wanted, in the metric's unit.")],
    direction: Annotated[Way, typer.Option(help="Which way it is better.")],
    weight: Annotated[float, typer.Option(min=0.0, max=1000.0, help="How much it counts.")] = 1.0,
    goal_id: Annotated[str | None, typer.Option("--id", help="Its name; else the metric.")] = None,
    as_json: Json = False,
) -> None:
    """Add a goal, or change the one of that name. It holds over those of the settings file."""
    from serving.api.answers import GoalQuestion

    try:
        wanted = GoalQuestion(
            goal_id=goal_id or metric,
            metric_name=metric,
            target_value=value,
            direction=direction.value,
            weight=weight,
        )
    except ValueError as error:
        raise InputError(f"goal {metric} {value}: use a metric's name and a number") from error
    with asking(context) as side:
        kept = [_again(one) for one in side.goals() if one.goal_id != wanted.goal_id]
        _show_goals(side.set_goals([*kept, wanted]), as_json=as_json)


@goals.command("remove")
def goals_remove(
    context: typer.Context,
    goal_id: Annotated[str, typer.Argument(help="Name of the goal.")],
    as_json: Json = False,
) -> None:
    """Remove a goal."""
    with asking(context) as side:
        known = side.goals()
        kept = [_again(one) for one in known if one.goal_id != goal_id]
        if len(kept) == len(known):
            names = ", ".join(one.goal_id for one in known) or "none"
            raise InputError(f"there is no goal {goal_id}; there are {names}")
        _show_goals(side.set_goals(kept), as_json=as_json)


targets = typer.Typer(invoke_without_command=True, help="Show the targets and their health.")


@targets.callback()
def targets_list(context: typer.Context, as_json: Json = False) -> None:
    """Show the targets and how each answered last."""
    if context.invoked_subcommand is not None:
        return
    with asking(context) as side:
        found = everything(side.targets)
    if as_json:
        write_json([one.model_dump(mode="json") for one in found])
        return
    show_table(
        ("target", "answers", "when", "seconds", "metrics", "findings", "left alone", "why"),
        [
            (
                one.name,
                one.ok,
                one.at,
                one.seconds,
                one.metrics,
                one.findings,
                ", ".join(sorted(one.held_knobs)),
                one.reason,
            )
            for one in found
        ],
        empty="no target was looked at yet; the agent does so every monitoring interval",
    )


@targets.command("release")
def targets_release(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Name of the target.")],
    knob: Annotated[str, typer.Argument(help="The knob that is left alone.")],
) -> None:
    """Let the agent turn a knob again which it left alone because a person had turned it."""
    import getpass

    from registry.agent_control import ControlStore

    world: CommandWorld = context.obj
    root = world.context()
    if not ControlStore(root.engine, root.clock).release_knob(target, knob, getpass.getuser()):
        raise InputError(f"{knob} of {target} is not left alone; see `prime-spark targets`")
    typer.echo(f"the agent may turn {knob} of {target} again")


def _decide(  # noqa: PLR0913 - these are the parts of a decision
    context: typer.Context,
    action_id: str,
    note: str,
    *,
    approved: bool,
    sure: bool,
    digest: str | None,
    as_json: bool,
) -> None:
    from serving.api.answers import ApproveQuestion

    with asking(context) as side:
        seen = digest
        if seen is None:
            story = side.action(action_id)
            seen = story.proposal.digest
            if not (sure or as_json):
                write_facts(story)
                typer.echo(side.explain(action_id).text)
                typer.confirm("Approve this?", abort=True)
        try:
            question = ApproveQuestion(
                action_id=action_id, approved=approved, digest=seen, note=note
            )
        except ValueError as error:
            raise InputError(
                "a digest is 64 hexadecimal digits, and a note has at most 1000 characters"
            ) from error
        answer = side.decide(question)
    if as_json:
        write_json(answer.model_dump(mode="json"))
        return
    word = "approved" if answer.approved else "rejected"
    typer.echo(f"{answer.action_id} is {word} by {answer.by}; it is {answer.status} now")


def _tell_pause(answer: PauseAnswer, *, as_json: bool) -> None:
    if as_json:
        write_json(answer.model_dump(mode="json"))
    elif answer.paused:
        typer.echo(f"paused by {answer.by}" + (f": {answer.reason}" if answer.reason else ""))
    else:
        typer.echo("the agent may act")


def _show_goals(found: list[GoalAnswer], *, as_json: bool) -> None:
    if as_json:
        write_json([one.model_dump(mode="json") for one in found])
        return
    show_table(
        GOAL_COLUMNS,
        [goal_row(one) for one in found],
        empty="no goals; set one: prime-spark goals set METRIC VALUE --direction minimize",
    )


def _again(goal: GoalAnswer) -> GoalQuestion:
    from serving.api.answers import GoalQuestion

    return GoalQuestion(
        goal_id=goal.goal_id,
        metric_name=goal.metric_name,
        target_value=goal.target_value,
        direction=goal.direction,
        weight=goal.weight,
    )
