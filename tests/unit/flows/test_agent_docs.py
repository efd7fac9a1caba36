"""The page about the agent names what there is, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from sqlalchemy import Engine

from config.clock import ManualClock
from config.loader import load_settings
from config.settings import Settings
from flows.cli import app
from flows.commands.agent import add_agent_commands
from registry.agent_records import ActionState
from serving.api.app import create_app

PAGE = (Path(__file__).parents[3] / "docs/agent.md").read_text(encoding="utf-8")


def _names(commands: typer.Typer) -> set[str]:
    found = {
        one.name or one.callback.__name__ for one in commands.registered_commands if one.callback
    }
    return found | {str(group.name) for group in commands.registered_groups}


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"prime-spark ([a-z]+)", PAGE))
    assert named <= _names(app)


def test_every_command_about_the_agent_is_named() -> None:
    about_the_agent = typer.Typer()
    add_agent_commands(about_the_agent)
    named = set(re.findall(r"prime-spark ([a-z]+)", PAGE))
    assert _names(about_the_agent) <= named


def test_its_table_of_routes_is_the_apis(
    ledger: Engine, clock: ManualClock, tmp_path: Path
) -> None:
    settings = load_settings(None, {"PRIME_SPARK_HOME": str(tmp_path)})
    paths = create_app(ledger, settings, clock).openapi()["paths"]
    there = {f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs}
    assert set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`]*)`", PAGE)) == there


def test_every_setting_it_names_exists() -> None:
    named = re.findall(r"(?:`|--set )((?:safety|agent|thresholds|models)\.[a-z_]+)", PAGE)
    assert len(named) > 8
    settings = Settings()
    for name in named:
        section, _, key = name.partition(".")
        assert hasattr(getattr(settings, section), key), name


def test_every_state_an_action_comes_to_is_drawn() -> None:
    drawn = set(
        re.findall(r"[a-z_]+", PAGE[PAGE.index("stateDiagram") : PAGE.index("1. **Intent")])
    )
    # Proposals are scheduled, or wait, in the cycle that makes them; what fails tells why.
    assert {state.value for state in ActionState} - drawn <= {"proposed", "failed"}
