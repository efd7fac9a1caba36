"""The agent's log: lines with action ids, rotated, closed to others, without secrets."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.settings import AgentSettings
from flows.resident.logs import LOG_FILE, ROOT, install

_log = logging.getLogger(f"{ROOT}.agent")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the logger back as it was."""
    root = logging.getLogger(ROOT)
    handlers, level, propagate = list(root.handlers), root.level, root.propagate
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    root.propagate = propagate


def test_text_lines_can_be_searched_as_the_specification_says(tmp_path: Path) -> None:
    install(AgentSettings(), tmp_path, to_terminal=False)
    _log.info("Executing action %s: %s", "action-1", "benchmark version 2")
    line = (tmp_path / LOG_FILE).read_text()
    assert "INFO Executing action action-1: benchmark version 2" in line


def test_json_lines_carry_the_action(tmp_path: Path) -> None:
    install(AgentSettings(log_format="json"), tmp_path, to_terminal=False)
    _log.warning("Action failed: %s", "why", extra={"action": "action-1", "state": "failed"})
    try:
        int("a mistake")
    except ValueError:
        _log.exception("the monitor loop")
    first, second = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert first["message"] == "Action failed: why"
    assert (first["action"], first["state"], first["level"]) == ("action-1", "failed", "warning")
    assert "ValueError: invalid literal" in second["traceback"]


def test_secrets_stay_out(tmp_path: Path) -> None:
    install(AgentSettings(), tmp_path, to_terminal=False)
    _log.info("cannot reach %s", "http://ada:secret@host")
    assert "secret" not in (tmp_path / LOG_FILE).read_text()


def test_files_are_rotated_bounded_and_the_owner_s_alone(tmp_path: Path) -> None:
    install(AgentSettings(log_max_mb=0.001, log_files=2), tmp_path, to_terminal=False)
    for number in range(200):
        _log.info("line %d", number)
    files = sorted(tmp_path.iterdir())
    assert [one.name for one in files] == ["agent.log", "agent.log.1", "agent.log.2"]
    assert all(one.stat().st_size <= 1000 for one in files)
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(ConfigError, match=r"cannot write the log .*agent\.log"):
        install(AgentSettings(), tmp_path, to_terminal=False)
