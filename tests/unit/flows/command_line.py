"""Runs `prime-spark` in this process, with a home of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows import cli


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has written, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A user with a home directory."""

    home: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Answer:
        self.patch.setattr("sys.argv", ["prime-spark", *arguments])
        for name in [name for name in os.environ if name.startswith("PRIME_SPARK_")]:
            self.patch.delenv(name)
        variables = {"PRIME_SPARK_HOME": str(self.home), "COLUMNS": "160", **(environ or {})}
        for name, value in variables.items():
            self.patch.setenv(name, value)
        self.capture.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = self.capture.readouterr()
        return Answer(code, captured.out, captured.err)


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    return CommandLine(tmp_path / "home", monkeypatch, capsys)


def is_one_sentence(answer: Answer, *parts: str) -> bool:
    """Tell whether a mistake was answered in one line that holds all `parts`."""
    lines: Sequence[str] = answer.err.strip().splitlines()
    return len(lines) == 1 and answer.out == "" and all(part in answer.err for part in parts)
