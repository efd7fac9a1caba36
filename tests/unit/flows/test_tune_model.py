"""`prime-spark tune model`: what it answers, what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.serving_models import write_model
from config.clock import SystemClock
from config.paths import Home
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from tests.unit.flows.command_line import CommandLine, command_line, is_one_sentence

__all__ = ["command_line"]

_SMALL = {
    "PRIME_SPARK_PERFORMANCE__BATCH_INFERENCE__MAX_BATCH_SIZE": "16",
    "PRIME_SPARK_PERFORMANCE__BATCH_INFERENCE__MAX_WAIT_MS": "1",
    "PRIME_SPARK_PERFORMANCE__BATCH_INFERENCE__MAX_THREADS": "1",
    # The setting in use: row by row.
    "PRIME_SPARK_SERVING__MAX_BATCH_SIZE": "1",
}
_ASKED = ("--rate", "700", "--objective", "60", "--seconds", "3")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model of a few milliseconds, which gains by joining rows."""
    path = tmp_path / "slow.onnx"
    write_model(path, 10, 1)
    return path


def test_a_file_is_tuned_before_it_is_served(command_line: CommandLine, file: Path) -> None:
    answer = command_line.run("tune", "model", str(file), *_ASKED, "--json", environ=_SMALL)
    assert answer.code == 0, answer.err
    found: Any = answer.json
    assert found["current"]["setting"]["max_batch_size"] == 1
    assert found["best"]["setting"]["max_batch_size"] > 1
    assert found["best"]["rate"] > (found["current"]["rate"] or 0.0)
    assert len(found["tried"]) <= max(1, 0.08 * found["grid"])
    assert found["applied"] is False


def test_recorded_arrivals_are_replayed_and_told_in_a_table(
    command_line: CommandLine, file: Path, tmp_path: Path
) -> None:
    arrivals = tmp_path / "arrivals.txt"
    at = 1_700_000_000.0 + np.cumsum(np.random.default_rng(1).exponential(0.01, 400))
    arrivals.write_text("\n".join(f"{one:.6f}" for one in at))
    answer = command_line.run(
        *("tune", "model", str(file), "--arrivals", str(arrivals), "--seconds", "2"),
        environ=_SMALL,
    )
    assert answer.code == 0, answer.err
    assert "in use" in answer.out
    assert "Predicted from 400 arrivals" in answer.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--rate or --arrivals"),
        (("--rate", "10", "--arrivals", "some.txt"), "exclude each other"),
        (("--rate", "10", "--apply"), "name the model to use --apply"),
        (("--arrivals", "none.txt"), "cannot be read"),
    ],
)
def test_what_is_missing_is_told(
    command_line: CommandLine, file: Path, options: tuple[str, ...], said: str
) -> None:
    answer = command_line.run("tune", "model", str(file), *options)
    assert answer.code == 2
    assert is_one_sentence(answer, said)


@pytest.mark.parametrize("name", ["none.onnx", "no/model", "digits:new"])
def test_what_is_no_model_is_told(command_line: CommandLine, name: str) -> None:
    environ = {"PRIME_SPARK_MLFLOW__TRACKING_URI": "http://127.0.0.1:9"}
    answer = command_line.run("tune", "model", name, "--rate", "10", environ=environ)
    assert answer.code == 2
    assert is_one_sentence(answer, name.rpartition(":")[2])


def test_a_file_that_is_no_model_is_refused(command_line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    answer = command_line.run("tune", "model", str(path), "--rate", "10")
    assert answer.code == 2
    assert is_one_sentence(answer, "text.onnx")


def test_the_best_is_written_for_a_registered_model(
    command_line: CommandLine, file: Path, mlflow_uri: str
) -> None:
    environ = {**_SMALL, "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri}
    registered = command_line.run("register", "tuned-model", str(file), environ=environ)
    assert registered.code == 0, registered.err
    answer = command_line.run(
        "tune", "model", "tuned-model:1", *_ASKED, "--apply", "--json", environ=environ
    )
    assert answer.code == 0, answer.err
    found: Any = answer.json
    assert found["applied"] is True
    engine = open_ledger(f"sqlite:///{Home(command_line.home).ledger_file}")
    try:
        written = KnobStore(engine, SystemClock()).read("serving/tuned-model")
    finally:
        engine.dispose()
    assert written == found["best"]["setting"]
    # From then on that is what is in use.
    again = command_line.run(
        "tune", "model", "tuned-model", *_ASKED, "--json", environ=environ
    ).json
    assert isinstance(again, dict)
    assert again["current"]["setting"] == written
