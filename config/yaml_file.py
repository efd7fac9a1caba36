"""Reads a YAML settings file safely: bounded, without aliases or tags, and knowing its lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import yaml

from config.errors import ConfigError


class _Mark(Protocol):
    @property
    def line(self) -> int: ...


MAX_BYTES = 256 * 1024
_MAX_DEPTH = 20
_NULL = "tag:yaml.org,2002:null"

KeyPath: TypeAlias = tuple[str | int, ...]
YamlValue: TypeAlias = "str | int | float | bool | list[YamlValue] | dict[str, YamlValue] | None"


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file's values and the line (from 1) each key stands on."""

    path: Path
    values: dict[str, YamlValue]
    lines: dict[KeyPath, int] = field(default_factory=dict)


def read_yaml(path: Path) -> YamlFile:
    """Read `path`.

    Raises:
        ConfigError: unreadable, over 256 KiB, not UTF-8, not YAML, nested too deeply, or with a
            duplicate key, an anchor, an alias, or a tag; the text names file and line.
    """
    text = _read_text(path)
    try:
        _refuse_unsafe(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _syntax_error(path, error) from error
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; settings need 4 levels at most") from None
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL):
        return YamlFile(path, {})
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{path}, line 1: settings are written as `key: value`, found something else"
        )
    reader = _Reader(path)
    values = reader.mapping(node, ())
    return YamlFile(path, values, reader.lines)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read settings file {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: over 256 KiB; a settings file is a few KiB at most")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text") from error


def _refuse_unsafe(path: Path, text: str) -> None:
    """Refuse aliases and tags before any tree is built.

    With aliases a few lines could grow to gigabytes; with tags text could become other things.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError(
                f"{path}, line {line}: anchors (&) and aliases (*) are not allowed; "
                "write the value out"
            )
        if getattr(event, "tag", None):
            raise ConfigError(f"{path}, line {line}: tags (!) are not allowed; write a plain value")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ConfigError(f"{path}, line {line}: nested too deeply; 4 levels are enough")


def _line(mark: _Mark | None) -> int:
    return 1 if mark is None else mark.line + 1


def _syntax_error(path: Path, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return ConfigError(f"{path}{where}: not valid YAML ({problem})")


class _Reader:
    """Turns a node tree into plain values and notes the line of every key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scalars = yaml.constructor.SafeConstructor()
        self.lines: dict[KeyPath, int] = {}

    def mapping(self, node: yaml.MappingNode, at: KeyPath) -> dict[str, YamlValue]:
        values: dict[str, YamlValue] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or key_node.tag != "tag:yaml.org,2002:str":
                raise ConfigError(f"{self._path}, line {line}: a key must be a plain name")
            if key in values:
                first = self.lines[(*at, key)]
                raise ConfigError(
                    f"{self._path}, line {line}: duplicate key `{key}`, first set on line {first}; "
                    "keep one of them"
                )
            self.lines[(*at, key)] = line
            values[key] = self._value(value_node, (*at, key))
        return values

    def _value(self, node: yaml.Node, at: KeyPath) -> YamlValue:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*at, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: yaml.Node, at: KeyPath) -> YamlValue:
        self.lines[at] = node.start_mark.line + 1
        return self._value(node, at)

    def _scalar(self, node: yaml.Node) -> YamlValue:
        line = node.start_mark.line + 1
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(
                f"{self._path}, line {line}: `{node.value}` cannot be read"
            ) from error
        if value is None or isinstance(value, str | int | float | bool):
            return value
        raise ConfigError(
            f"{self._path}, line {line}: `{node.value}` is a {type(value).__name__}; "
            "put it in quotes if it is meant as text"
        )
