"""Adds the commands about the agent to the command line."""

from __future__ import annotations

import typer

from flows.commands import agent_audit, agent_deciding, agent_reading, agent_simulate


def add_agent_commands(app: typer.Typer) -> None:
    """Add every command that shows or steers the agent."""
    app.command()(agent_reading.status)
    app.command()(agent_reading.actions)
    app.command()(agent_reading.show)
    app.command()(agent_reading.explain)
    app.command()(agent_deciding.approve)
    app.command()(agent_deciding.reject)
    app.command()(agent_deciding.pause)
    app.command()(agent_deciding.resume)
    app.add_typer(agent_deciding.goals, name="goals")
    app.add_typer(agent_deciding.targets, name="targets")
    app.command()(agent_reading.findings)
    app.command()(agent_reading.learn)
    app.add_typer(agent_audit.audit, name="audit")
    app.command()(agent_simulate.simulate)
