"""The command line as people and programs use it."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from config.clock import SystemClock
from config.paths import Home
from flows.commands.output import cell, plain
from flows.up.lock import Running, sole_run, write_running
from flows.up.session import Urls
from registry.ledger.database import open_ledger
from registry.ledger.events import EventLog
from registry.records import RouteMode, Stage
from registry.routing import RouteStore
from tests.unit.benchmarks.onnx_models import classifier, evaluation
from tests.unit.flows.command_line import CommandLine, command_line, is_one_sentence

__all__ = ["command_line"]

_READING = (
    ("route", "digits"),
    ("experiments",),
    ("history", "digits"),
    ("events",),
    ("events", "--verify"),
    ("doctor",),
    ("config", "check"),
)


def test_help_is_quick_and_names_the_exit_codes() -> None:
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flows.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Exit codes" in answer.stdout
    imported = set(re.findall(r"\|\s+([a-z_]+)$", answer.stderr, re.MULTILINE))
    assert "typer" in imported
    assert not imported & {"prefect", "mlflow", "bentoml", "sqlalchemy", "numpy", "pydantic"}


@pytest.mark.parametrize("arguments", _READING, ids=" ".join)
def test_every_reading_command_answers_in_json(
    command_line: CommandLine, arguments: tuple[str, ...]
) -> None:
    answer = command_line.run(*arguments, "--json")
    assert answer.code == 0, answer.err
    assert answer.json is not None


@pytest.mark.parametrize("arguments", _READING, ids=" ".join)
def test_every_reading_command_answers_a_person(
    command_line: CommandLine, arguments: tuple[str, ...]
) -> None:
    answer = command_line.run(*arguments)
    assert answer.code == 0, answer.err
    assert answer.out.strip()
    assert "\x1b" not in answer.out, "a pipe gets no colours"


@pytest.mark.parametrize("command", ["models", "versions"])
def test_without_a_registry_one_is_told_what_to_do(command_line: CommandLine, command: str) -> None:
    arguments = [command] if command == "models" else [command, "digits"]
    answer = command_line.run(*arguments)
    assert answer.code == 2
    assert is_one_sentence(answer, "mlflow.tracking_uri", "prime-spark up")


def test_a_registry_that_does_not_answer_is_told(command_line: CommandLine) -> None:
    environ = {"PRIME_SPARK_MLFLOW__TRACKING_URI": "http://user:hunter2@127.0.0.1:1"}
    answer = command_line.run("models", environ=environ)
    assert answer.code == 4
    assert is_one_sentence(answer, "127.0.0.1:1")
    assert "hunter2" not in answer.err


def test_a_wrong_setting_stops_every_command(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("gate:\n  sampels: 3\n")
    for arguments in (*_READING, ("up",), ("up", "--demo"), ("deploy",)):
        answer = command_line.run("--config", str(file), *arguments)
        assert answer.code == 2
        assert is_one_sentence(answer, str(file), "line 2", "sampels", "allowed here"), answer
    assert not command_line.home.exists(), "nothing may have been started"


def test_a_command_that_does_not_exist_is_no_traceback(command_line: CommandLine) -> None:
    answer = command_line.run("modles")
    assert answer.code == 2
    assert "models" in answer.err
    assert "Traceback" not in answer.err


def test_exit_without_demo_is_refused(command_line: CommandLine) -> None:
    answer = command_line.run("up", "--exit")
    assert answer.code == 2
    assert "--exit goes with --demo" in answer.err


def test_a_port_that_is_taken_stops_up_with_one_sentence(command_line: CommandLine) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        answer = command_line.run("up", environ={"PRIME_SPARK_PORTS__MLFLOW": port})
    assert answer.code == 3
    assert answer.err.count("\n") == 1
    assert f"port {port}" in answer.err
    assert "ports.mlflow" in answer.err


def test_the_demo_leaves_files_alone_that_are_not_its_own(command_line: CommandLine) -> None:
    theirs = command_line.home / "demo" / "thesis.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("irreplaceable")
    answer = command_line.run("up", "--demo")
    assert answer.code == 3
    assert is_one_sentence(answer, "not the demo's", "PRIME_SPARK_HOME")
    assert theirs.read_text() == "irreplaceable"


def test_a_run_on_the_home_is_found_by_other_commands(
    command_line: CommandLine, mlflow_uri: str
) -> None:
    home = Home(command_line.home).create()
    urls = Urls("http://127.0.0.1:1", "http://127.0.0.1:1/api", mlflow_uri, "http://127.0.0.1:2")
    with sole_run(home):
        write_running(home, Running(1, "up-x", urls))
        assert command_line.run("models", "--json").code == 0


def test_a_model_is_registered_and_listed(
    command_line: CommandLine, mlflow_uri: str, tmp_path: Path
) -> None:
    environ = {"PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri}
    file = classifier(tmp_path / "model.onnx")
    data = tmp_path / "evaluation.npz"
    data.write_bytes(evaluation().to_bytes())
    registered = command_line.run(
        *("register", "cli-digits", str(file.path), "--evaluation", str(data)),
        *("--metric", "accuracy=0.97", "--json"),
        environ=environ,
    )
    assert registered.code == 0, registered.err
    version = registered.json
    assert isinstance(version, dict)
    assert (version["version"], version["digest"]) == (1, file.digest)
    models = command_line.run("models", "--json", environ=environ)
    assert {"model": "cli-digits", "aliases": {}} in models.json  # type: ignore[operator]
    listed = command_line.run("versions", "cli-digits", environ=environ)
    assert "accuracy 0.97" in listed.out
    promoted = command_line.run("promote", "cli-digits", "1", environ=environ)
    assert promoted.code == 3
    assert is_one_sentence(promoted, "won no trial")
    rolled_back = command_line.run("rollback", "cli-digits", environ=environ)
    assert rolled_back.code == 2
    assert is_one_sentence(rolled_back, "no champion")


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        (b"not onnx", (), "onnx"),
        (None, (), "is no file"),
        (b"x", ("--metric", "accuracy"), "name=number"),
        (b"x", ("--metric", "accuracy=nan"), "name=number"),
        (b"x", ("--evaluation", "none.npz"), "cannot read none.npz"),
    ],
)
def test_what_cannot_be_registered_is_told(
    command_line: CommandLine,
    tmp_path: Path,
    content: bytes | None,
    options: tuple[str, ...],
    told: str,
) -> None:
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    environ = {"PRIME_SPARK_MLFLOW__TRACKING_URI": "http://127.0.0.1:1"}
    answer = command_line.run("register", "digits", str(file), *options, environ=environ)
    assert answer.code == 2, answer
    assert told.lower() in answer.err.lower()
    assert answer.err.count("\n") == 1


def test_evaluation_data_that_needs_pickle_is_refused(
    command_line: CommandLine, tmp_path: Path
) -> None:
    data = tmp_path / "evaluation.npz"
    np.savez(data, inputs=np.array([{}], dtype=object), labels=np.array([1]))
    file = classifier(tmp_path / "model.onnx").path
    environ = {"PRIME_SPARK_MLFLOW__TRACKING_URI": "http://127.0.0.1:1"}
    arguments = ("register", "digits", str(file), "--evaluation", str(data))
    answer = command_line.run(*arguments, environ=environ)
    assert (answer.code, answer.err.count("\n")) == (2, 1)


def _ledger_url(command_line: CommandLine) -> str:
    return f"sqlite:///{Home(command_line.home).create().ledger_file}"


def test_the_newest_events_are_shown_oldest_first(command_line: CommandLine) -> None:
    log = EventLog(open_ledger(_ledger_url(command_line)), SystemClock())
    for number in range(5):
        log.append(None, "looked", "digits", {"number": number, "password": "x"})
    answer = command_line.run("events", "--json", "--limit", "2")
    assert isinstance(answer.json, list)
    assert [entry["body"]["number"] for entry in answer.json] == [3, 4]
    assert "number 4" in command_line.run("events").out


def test_an_altered_ledger_is_found(command_line: CommandLine) -> None:
    from sqlalchemy import text

    engine = open_ledger(_ledger_url(command_line))
    log = EventLog(engine, SystemClock())
    log.append(None, "looked", "digits", {"number": 1})
    assert command_line.run("events", "--verify").code == 0
    with engine.begin() as connection:
        connection.execute(text("update event_head set hash = 'other'"))
    answer = command_line.run("events", "--verify")
    assert answer.code == 1
    assert "altered" in answer.out


def test_the_wanted_split_is_shown(command_line: CommandLine) -> None:
    store = RouteStore(open_ledger(_ledger_url(command_line)), SystemClock())
    store.put(
        "digits",
        expected_revision=0,
        mode=RouteMode.AB,
        champion=1,
        challenger=2,
        weight=0.1,
        experiment_id="trial-1",
        salt="s",
        by="tests",
        reason="trial of version 2",
    )
    assert "10%" in command_line.run("route", "digits").out
    shown = command_line.run("route", "digits", "--json").json
    assert isinstance(shown, dict)
    assert (shown["mode"], shown["weight"], shown["challenger"]) == ("ab", 0.1, 2)


def test_records_become_plain_json() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    value = {"at": moment, Stage.WON: (Path("/x"), {1}), "url": "http://a:b@c/"}
    assert plain(value) == {
        "at": "2030-01-01T00:00:00+00:00",
        "won": ["/x", [1]],
        "url": "http://***@c/",
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), ("", "–"), (True, "yes"), (0, "0"), (0.123456, "0.1235"), (Stage.WON, "won")],
)
def test_cells_are_made_for_reading(value: object, shown: str) -> None:
    assert cell(value) == shown
