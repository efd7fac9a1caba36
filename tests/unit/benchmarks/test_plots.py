from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import image

from benchmarks.plots import LatencyCurve, evidence_png, latency_png
from registry.records import Look

SEED = 2


def pixels(png: bytes) -> tuple[int, ...]:
    assert png.startswith(b"\x89PNG")
    height, width, _ = image.imread(io.BytesIO(png)).shape
    return height, width


def look(number: int, z: float | None, errors: float) -> Look:
    return Look(
        number=number,
        at=0.0,
        elapsed_s=number * 10.0,
        arms={},
        information_fraction=number / 14,
        z=z,
        boundary=2.0 + 5.0 / number,
        estimate=None,
        interval=None,
        evidence={"errors": errors, "latency": 1.0},
        thresholds={"errors": 100.0, "latency": 100.0, "futility": -1.0},
        verdict="continue",
        reason="",
    )


def test_both_arms_are_drawn_from_samples_or_buckets() -> None:
    samples = np.random.default_rng(SEED).lognormal(0, 1, 500)
    curves = [
        LatencyCurve.of_samples("candidate", samples),
        LatencyCurve.of_buckets("champion", [(2.0, 30), (1.0, 70)]),
    ]
    both = latency_png("digits", curves)
    assert pixels(both)[0] > 400
    assert both != latency_png("digits", curves[:1])


def test_the_same_numbers_give_the_same_bytes() -> None:
    curves = [LatencyCurve.of_buckets("champion", [(1.0, 3), (1.2, 1)])]
    assert latency_png("a", curves) == latency_png("a", curves)


def test_quantiles_of_buckets_are_those_of_their_samples() -> None:
    curve = LatencyCurve.of_buckets("champion", [(3.0, 1), (1.0, 50), (2.0, 49)])
    assert [curve.quantile(share) for share in (0.5, 0.51, 0.99, 1.0)] == [1.0, 2.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "curves",
    [
        [],
        [LatencyCurve.of_samples("candidate", np.empty(0))],
        [LatencyCurve.of_samples("candidate", np.asarray([2.0]))],
        [
            LatencyCurve.of_samples("candidate", np.empty(0)),
            LatencyCurve.of_samples("champion", np.asarray([1.0, 900.0])),
        ],
    ],
)
def test_missing_arms_do_not_break_the_plot(curves: list[LatencyCurve]) -> None:
    assert pixels(latency_png("cost of $5 and $6", curves))


def test_evidence_is_drawn_with_its_boundaries() -> None:
    looks = [look(n, 0.3 * n, 1.5**n) for n in range(1, 15)]
    assert pixels(evidence_png("digits", looks))[0] > 600
    assert evidence_png("digits", looks) != evidence_png("digits", looks[:5])


@pytest.mark.parametrize(
    "looks",
    [
        [],
        [look(1, None, 0.0)],
        [look(1, float("nan"), float("inf")), look(2, 1.0, float("nan"))],
    ],
)
def test_missing_evidence_does_not_break_the_plot(looks: list[Look]) -> None:
    assert pixels(evidence_png("digits", looks))
