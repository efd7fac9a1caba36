"""The agent's status on the screen: once, or again and again in the same place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from config.redaction import redact
from flows.commands.agent_reading import percent
from flows.commands.agent_side import ActionQuery, AgentSide
from flows.commands.output import cell, write_json

if TYPE_CHECKING:
    from serving.api.answers import AgentAnswer, Status

_RECENT = 8


def show_status(side: AgentSide, *, as_json: bool, live: bool) -> bool:
    """Write the agent's status to standard output; return whether an agent runs."""
    if as_json:
        agent = side.agent()
        write_json(side.status().model_dump(mode="json"))
        return agent.up
    console = Console(highlight=False)
    if live and console.is_terminal:
        console.clear()
    elif not console.is_terminal:
        console.width = 160
    agent, status = side.agent(), side.status()
    console.print(Group(*_lines(agent, status, side.where), *_tables(side, agent, status)))
    sys.stdout.flush()
    return agent.up


def _lines(agent: AgentAnswer, status: Status, where: str) -> Iterator[Text]:
    since = f", up {_span(agent.uptime_seconds)}" if agent.up else ""
    yield Text(f"agent {status.state}{since}", style="bold")
    if agent.reason:
        yield Text(redact(agent.reason))
    held = agent.paused
    if held.paused and not agent.up:
        yield Text(redact(f"paused by {held.by}" + (f": {held.reason}" if held.reason else "")))
    if agent.simulation_mode:
        yield Text("simulation mode: decisions are recorded, nothing is changed")
    elif not agent.automatic_actions:
        yield Text("automatic actions are off: everything waits for approval")
    for plugin in agent.plugins_off:
        yield Text(redact(f"left out: {plugin}"))
    done = status.stats
    yield Text(
        f"{status.pending_actions} pending, {status.active_actions} active, "
        f"{done.successful_actions} succeeded, {done.failed_actions} failed; "
        f"total improvement {percent(done.total_improvement)}"
    )
    yield Text(f"answered by {redact(where)}", style="dim")


def _tables(side: AgentSide, agent: AgentAnswer, status: Status) -> Iterator[Table]:
    if agent.loops:
        loops = _table("loop", "last", "seconds")
        for name, loop in sorted(agent.loops.items()):
            loops.add_row(name, cell(loop.at), cell(loop.seconds))
        yield loops
    if status.goals:
        goals = _table("goal", "wanted", "now", "achieved")
        for goal in status.goals:
            achieved = goal.achieved if goal.current is not None else None
            goals.add_row(goal.metric, cell(goal.target), cell(goal.current), cell(achieved))
        yield goals
    recent = side.actions(ActionQuery(limit=_RECENT)).items
    if recent:
        table = _table("action", "type", "state", "what")
        for one in recent:
            table.add_row(one.action_id, one.type, one.status, cell(one.description))
        yield table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _span(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or "0 s"
