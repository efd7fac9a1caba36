from __future__ import annotations

import math

import pytest

from benchmarks.significance.e_process import Stage
from benchmarks.significance.sample_ratio import log_evidence, log_evidence_of


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_all_splits_of_twelve_requests_have_mean_one(share: float) -> None:
    total = sum(
        math.comb(12, k) * share**k * (1 - share) ** (12 - k)
        * math.exp(log_evidence([Stage(share, 12 - k, k)]))
        for k in range(13)
    )  # fmt: skip
    assert total == pytest.approx(1, abs=1e-9)


def test_the_ordered_split_gathers_no_evidence() -> None:
    assert log_evidence([Stage(0.1, 90_000, 10_000)]) < 0


@pytest.mark.parametrize(("champion", "challenger"), [(500, 0), (0, 20), (88_000, 12_000)])
def test_a_split_that_is_off_is_found(champion: int, challenger: int) -> None:
    assert log_evidence([Stage(0.1, champion, challenger)]) > math.log(2000)


def test_stages_multiply() -> None:
    stages = [Stage(0.05, 950, 50), Stage(0.5, 400, 600)]
    assert log_evidence(stages) == pytest.approx(sum(log_evidence([stage]) for stage in stages))


def test_arrays_agree_with_single_values() -> None:
    assert log_evidence_of([90, 800], [10, 200], 0.1)[1] == pytest.approx(
        log_evidence([Stage(0.1, 800, 200)])
    )
