from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cache_curves.recorded import recorded_curve
from registry.traffic import TrafficRing


def _ring(folder: Path, worker: str, keys: list[int], version: int, seconds: float) -> None:
    ring = TrafficRing(folder, "digits", worker, 10_000)
    for place, key in enumerate(keys):
        ring.add(1000.0 + seconds * place / len(keys), key, 1, version)
    ring.flush()


def test_each_worker_and_version_has_a_cache_of_its_own(tmp_path: Path) -> None:
    _ring(tmp_path, "one", [1, 2] * 500, 1, 10.0)
    _ring(tmp_path, "two", [7] * 1000, 1, 10.0)
    _ring(tmp_path, "three", list(range(1, 1001)), 2, 10.0)
    both = recorded_curve(tmp_path, "digits")
    assert (both.caches, both.curve.requests) == (3, 3000)
    assert both.rate == pytest.approx(100.0, rel=0.01)
    served = recorded_curve(tmp_path, "digits", {1})
    assert served.caches == 2
    assert served.curve.at(1) == pytest.approx(0.5, abs=0.002)
    assert served.curve.at(2) == pytest.approx(1.0)


def test_requests_that_asked_no_cache_do_not_count(tmp_path: Path) -> None:
    _ring(tmp_path, "one", [0, 5] * 100, 1, 1.0)
    assert recorded_curve(tmp_path, "digits").curve.requests == 100


def test_nothing_recorded(tmp_path: Path) -> None:
    found = recorded_curve(tmp_path / "none", "digits")
    assert (found.caches, found.rate, found.curve.requests) == (0, 0.0, 0)
