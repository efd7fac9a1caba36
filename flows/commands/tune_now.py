"""`tune now`: one capability of the agent, at once and in the foreground."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.agent_reading import Json
from flows.commands.output import EXIT_FAILED, EXIT_HANDED_OVER, show_table, write_json
from flows.commands.world import CommandWorld

if TYPE_CHECKING:
    from flows.resident.tuning import Tuned
    from registry.agent_records import Action

_COLUMNS = ("action", "state", "expected", "gain", "what", "why")


def now(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="An action type, as cache_resize.")],
    looks: Annotated[int, typer.Option(min=1, max=1000, help="Looks before deciding.")] = 5,
    every: Annotated[float, typer.Option(min=0.0, max=3600.0, help="Seconds between them.")] = 5.0,
    as_json: Json = False,
) -> None:
    """Look, decide, apply, measure and keep or undo what one capability calls for now.

    It does what the agent would do, under the same rules and on the same ledger, without waiting
    for the agent's loops and without Prefect.
    """
    from flows.resident.tuning import tune
    from flows.resident.world import AgentWorld

    world: CommandWorld = context.obj
    agent = AgentWorld(world.context())
    try:
        tuned = tune(agent, kind, looks, every, wait=time.sleep, say=_quiet if as_json else _say)
    finally:
        agent.close()
    if as_json:
        write_json(_answer(tuned))
    else:
        _show(tuned)
    if tuned.in_doubt:
        raise typer.Exit(EXIT_HANDED_OVER)
    if not tuned.helped:
        raise typer.Exit(EXIT_FAILED)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _quiet(_text: str) -> None:
    """Say nothing; the answer says all."""


def _show(tuned: Tuned) -> None:
    for reason in tuned.left_out:
        typer.echo(f"left out: {reason}")
    empty = "nothing calls for it now" if not tuned.findings else "nothing was proposed"
    rows = [_row(one) for one in tuned.actions]
    show_table(_COLUMNS, rows, empty=empty, unbroken=("action",))


def _row(action: Action) -> tuple[object, ...]:
    effect, proposal = action.effect, action.proposal
    gain = None if effect is None or effect.gain is None else f"{effect.gain:+.1%}"
    expected = f"{proposal.expected.mean:+.1%}"
    return action.id, action.state.value, expected, gain, proposal.description, action.reason


def _answer(tuned: Tuned) -> Mapping[str, object]:
    return {
        "type": tuned.type,
        "findings": tuned.findings,
        "studies": tuned.studies,
        "left_out": tuned.left_out,
        "actions": [
            {
                "id": one.id,
                "state": one.state,
                "reason": one.reason,
                "proposal": one.proposal,
                "decision": one.decision,
                "effect": one.effect,
                "progress": one.progress,
            }
            for one in tuned.actions
        ],
    }
