"""A watched folder: what is taken, what is refused, and what is looked at again."""

from __future__ import annotations

import os
import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import InputError
from registry.model_folder import ModelFolder
from registry.onnx_files import sha256
from tests.services.toy_models import classifier, evaluation


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "drop" / "toy").mkdir(parents=True)
    return tmp_path / "drop"


@pytest.fixture
def later() -> ManualClock:
    """A clock that is an hour ahead: whatever is written now has settled."""
    return ManualClock(SystemClock().now() + timedelta(hours=1))


def test_an_onnx_file_is_found_with_its_digest(root: Path, later: ManualClock) -> None:
    path = classifier(root / "toy" / "a.onnx", 0.0)
    (found,) = ModelFolder(root, later).scan()
    assert (found.model, found.name, found.digest) == ("toy", "toy/a.onnx", sha256(path))
    assert found.refused == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pkl", pickle.dumps({"weights": [1]})),
        ("a.onnx", pickle.dumps({"weights": [1]})),
        ("a.onnx", b""),
        ("a.pt", b"PK\x03\x04"),
    ],
)
def test_anything_else_is_refused_with_a_reason(
    root: Path, later: ManualClock, name: str, content: bytes
) -> None:
    (root / "toy" / name).write_bytes(content)
    (found,) = ModelFolder(root, later).scan()
    assert found.digest == ""
    assert "ONNX" in found.refused or "empty" in found.refused


def test_a_file_that_may_still_be_written_is_left_for_later(root: Path) -> None:
    classifier(root / "toy" / "a.onnx", 0.0)
    assert ModelFolder(root, SystemClock()).scan() == []


def test_a_changed_file_is_looked_at_again(root: Path, later: ManualClock) -> None:
    folder = ModelFolder(root, later)
    path = classifier(root / "toy" / "a.onnx", 0.0)
    before = folder.scan()[0].digest
    classifier(path, 1.0)
    os.utime(path, (1.0, 1.0))
    assert folder.scan()[0].digest not in {"", before}


def test_no_folder_is_an_empty_one(tmp_path: Path, later: ManualClock) -> None:
    assert ModelFolder(tmp_path / "none", later).scan() == []


def test_links_and_hidden_files_are_not_followed(
    root: Path, later: ManualClock, tmp_path: Path
) -> None:
    outside = classifier(tmp_path / "outside.onnx", 0.0)
    (root / "toy" / "link.onnx").symlink_to(outside)
    (root / "toy" / ".hidden.onnx").write_bytes(outside.read_bytes())
    (found,) = ModelFolder(root, later).scan()
    assert found.refused == "it is no plain file"


def test_a_file_is_taken_as_it_was_found_only(
    root: Path, later: ManualClock, tmp_path: Path
) -> None:
    path = classifier(root / "toy" / "a.onnx", 0.0)
    (root / "toy" / "a.npz").write_bytes(evaluation().to_bytes())
    folder, digest = ModelFolder(root, later), sha256(path)
    copy, rows = folder.take("toy/a.onnx", digest, tmp_path)
    assert copy.read_bytes() == path.read_bytes()
    assert rows is not None
    classifier(path, 1.0)
    with pytest.raises(InputError, match="has changed"):
        folder.take("toy/a.onnx", digest, tmp_path)


@pytest.mark.parametrize(
    "name", ["../secret.onnx", "/etc/passwd", "a.onnx", "toy/../../x.onnx", ""]
)
def test_nothing_outside_of_the_folder_is_taken(
    root: Path, later: ManualClock, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError):
        ModelFolder(root, later).take(name, "0" * 64, tmp_path)
