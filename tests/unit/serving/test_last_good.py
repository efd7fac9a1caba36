from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.errors import ModelRefused
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile, Route, RouteMode
from serving import last_good
from serving.last_good import LastGood
from tests.services.predictor import write_classifier


@pytest.fixture
def file(tmp_path: Path) -> ModelFile:
    path = write_classifier(tmp_path / "model.onnx", 1)
    return ModelFile("digits", 2, path, sha256(path), inspect(path))


def test_what_was_served_comes_back_as_it_was(tmp_path: Path, file: ModelFile) -> None:
    route = replace(
        Route.none("digits"), mode=RouteMode.AB, at=datetime(2025, 1, 1, tzinfo=UTC), weight=0.1
    )
    state = LastGood(
        {"digits": 2}, {"digits": route}, {"serving": {"queue_limit": 9.0}}, {("digits", 2): file}
    )
    path = tmp_path / "state.json"
    last_good.save(path, state)
    assert last_good.load(path) == state
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"champions": 3}', "\x00"])
def test_a_damaged_note_is_the_same_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    assert last_good.load(path) == LastGood()
    assert last_good.load(tmp_path / "missing.json") == LastGood()


def test_a_model_file_that_was_changed_is_refused(file: ModelFile) -> None:
    assert last_good.checked(file) is file
    file.path.write_bytes(file.path.read_bytes() + b"x")
    with pytest.raises(ModelRefused, match="was changed"):
        last_good.checked(file)
    file.path.unlink()
    with pytest.raises(ModelRefused, match="cannot be read"):
        last_good.checked(file)
