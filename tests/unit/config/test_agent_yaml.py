"""The file of defaults is also the documentation of the settings: nothing in it is unexplained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from config.loader import default_file
from config.settings import Settings
from config.yaml_file import KeyPath


def _keys(model: type[BaseModel], at: KeyPath = ()) -> Iterator[KeyPath]:
    for name, field in model.model_fields.items():
        yield (*at, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, (*at, name))


def test_every_setting_stands_in_the_file() -> None:
    written = set(default_file().lines)
    assert [key for key in _keys(Settings) if key not in written] == []


def test_every_key_has_a_comment_above_it() -> None:
    file = default_file()
    lines = Path(file.path).read_text(encoding="utf-8").splitlines()
    named = [key for key in file.lines if not any(isinstance(part, int) for part in key)]
    bare = [key for key in named if not lines[file.lines[key] - 2].strip().startswith("#")]
    assert bare == []


def test_every_part_of_a_goal_is_explained() -> None:
    text = Path(default_file().path).read_text(encoding="utf-8")
    comments = " ".join(line for line in text.splitlines() if line.strip().startswith("#"))
    for part in ("metric_name:", "target_value:", "direction:", "weight:"):
        assert part in comments
