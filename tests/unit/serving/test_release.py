"""Memory given back when the counter rises, and not otherwise."""

from __future__ import annotations

from pathlib import Path

from serving.release import Release


def test_each_rise_is_one_wish(tmp_path: Path) -> None:
    served, left = tmp_path / "a.onnx", tmp_path / "b.onnx"
    for file in (served, left):
        file.write_bytes(b"x" * 100_000)
    release = Release(tmp_path)
    found = [release.follow(counter, [served]) for counter in (3, 3, 4, 4, 0, 1, 7, 7)]
    assert found == [False, False, True, False, False, True, True, False]
    assert served.read_bytes() == left.read_bytes()


def test_a_cache_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    release = Release(tmp_path / "nowhere")
    assert [release.follow(counter, []) for counter in (0, 1)] == [False, True]
