from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.arrivals import constant, from_file, poisson, poisson_count
from config.errors import InputError

SEED = 5


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert constant(4.0, 1.5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_poisson_arrivals_have_the_rate_and_the_spread_of_independent_users() -> None:
    offsets = poisson(200.0, 100.0, np.random.default_rng(SEED))
    gaps = np.diff(offsets)
    # 20,000 arrivals: 4 standard deviations are 3 %.
    assert offsets.size == pytest.approx(20_000, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.05)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    first = poisson(50.0, 2.0, np.random.default_rng(SEED))
    assert first.tolist() == poisson(50.0, 2.0, np.random.default_rng(SEED)).tolist()
    assert poisson_count(50.0, 30, np.random.default_rng(SEED)).size == 30


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="rate must be a positive number"):
        poisson(rate, 1.0, np.random.default_rng(SEED))
    with pytest.raises(InputError, match="duration must be a positive number"):
        constant(1.0, rate)


def test_recorded_times_start_at_zero(tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("# from the access log\n1700000000.5\n\n1700000000.75\n1700000002.5\n")
    assert from_file(file).tolist() == [0.0, 0.25, 2.0]


def test_recorded_times_may_be_iso_8601(tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("2026-01-01T00:00:00Z\n2026-01-01T01:00:01.5+01:00\n")
    assert from_file(file).tolist() == [0.0, 1.5]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1.0\nsoon\n", "line 2: 'soon' is not a timestamp"),
        ("1.0\n\n0.5\n", "line 3: 0.5 is earlier than the line before it"),
        ("nan\n", "line 1: nan is not a finite time"),
        ("2026-01-01T00:00:00\n", "line 1: .* has no time zone"),
        ("# nothing\n", "holds no timestamp"),
    ],
)
def test_a_bad_recording_is_refused_with_its_line(
    tmp_path: Path, content: str, problem: str
) -> None:
    file = tmp_path / "times.txt"
    file.write_text(content)
    with pytest.raises(InputError, match=problem) as caught:
        from_file(file)
    assert str(file) in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name, problem in (("bytes", "not a text file"), ("nowhere", "cannot be read")):
        with pytest.raises(InputError, match=problem):
            from_file(tmp_path / name)
