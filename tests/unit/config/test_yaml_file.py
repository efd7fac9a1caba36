"""A settings file is read within bounds, and what is wrong with it is told with the line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.yaml_file import MAX_BYTES, read_yaml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def _refused(file: Path, text: str | bytes) -> str:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(file)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def test_values_and_the_lines_of_their_keys(file: Path) -> None:
    file.write_text("# a comment\na: 1\nb:\n  c: [x, 2.5, true, null]\n")
    read = read_yaml(file)
    assert read.values == {"a": 1, "b": {"c": ["x", 2.5, True, None]}}
    assert read.lines[("a",)] == 2
    assert read.lines[("b", "c")] == 4
    assert read.lines[("b", "c", 0)] == 4


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_sets_nothing(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_yaml(file).values == {}


def test_a_bomb_of_aliases_is_refused_at_once(file: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for above, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join(f'*{above}' for _ in range(9))}]\n"
    before = time.monotonic()
    message = _refused(file, bomb)
    assert time.monotonic() - before < 1.0
    assert f"{file}, line 1" in message
    assert "write the value out" in message


def test_a_duplicate_key_names_both_lines(file: Path) -> None:
    message = _refused(file, "serving:\n  port: 1\n  workers: 2\n  port: 3\n")
    assert f"{file}, line 4: duplicate key `port`, first set on line 2" in message


def test_a_duplicate_section_is_refused(file: Path) -> None:
    assert "line 3: duplicate key `gate`" in _refused(file, "gate:\n  alpha: 0.1\ngate: {}\n")


def test_more_than_256_kib_are_not_even_read(file: Path) -> None:
    file.write_bytes(b"#" + b"x" * (MAX_BYTES - 1))
    assert read_yaml(file).values == {}
    assert "256 KiB" in _refused(file, b"#" + b"x" * MAX_BYTES)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="256 KiB"):
        read_yaml(Path("/dev/zero"))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['true']\n",
        "a: !!python/name:os.system\n",
        "a: !own 3\n",
        "a: !!binary aGVsbG8=\n",
        "a: 2020-01-01\n",
        "a: !!set {x}\n",
        "a: !!omap [x: 1]\n",
    ],
)
def test_only_plain_values_are_taken(file: Path, text: str) -> None:
    assert f"{file}, line 1" in _refused(file, text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 'x\n", 2),
        ("- a\n- b\n", 1),
        ("just text\n", 1),
        ("1: x\n", 1),
        ("? [a, b]\n: 1\n", 1),
        ("a: 1\n<<: {b: 2}\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
    ],
)
def test_what_is_no_mapping_of_names_is_told_with_its_line(
    file: Path, text: str, line: int
) -> None:
    assert f"{file}, line {line}" in _refused(file, text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{x: ", "}")])
def test_deep_nesting_is_refused(file: Path, opening: str, closing: str) -> None:
    assert "nested too deeply" in _refused(file, f"a: {opening * 5000}1{closing * 5000}\n")


def test_what_is_not_text_is_told_with_its_line(file: Path) -> None:
    assert f"{file}, line 2: not UTF-8" in _refused(file, b"a: 1\nb: \xff\xfe\n")


def test_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read settings file"):
        read_yaml(tmp_path)
