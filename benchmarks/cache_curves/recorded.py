"""The curve of a model's prediction caches, from the predictor's recorded traffic.

Each worker has a cache of its own for each version it serves, so each is a stream of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_curves.curves import HitCurve, hit_curve
from registry.traffic import read_traffic


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What the recorded requests for a model tell of its caches.

    Attributes:
        caches: how many caches were asked.
        rate: requests a second that one of them is asked, the busiest counting most.
    """

    curve: HitCurve
    caches: int
    rate: float


def recorded_curve(folder: Path, model: str, versions: Collection[int] | None = None) -> Recorded:
    """Read what was recorded of a model.

    Args:
        folder: of the recorded traffic, see `registry.traffic`.
        model: its name.
        versions: only these; None for all.
    """
    streams = list(_streams(folder, model, versions))
    weights = [one.size for one in streams]
    rates = [one.size / max(float(np.ptp(one["at"])), 1e-3) for one in streams]
    rate = float(np.average(rates, weights=weights)) if streams else 0.0
    return Recorded(hit_curve([one["key"] for one in streams]), len(streams), rate)


def _streams(
    folder: Path, model: str, versions: Collection[int] | None
) -> Iterator[NDArray[np.void]]:
    for records in read_traffic(folder, model).values():
        # Without a key no cache was asked.
        asked = records[records["key"] != 0]
        for version in np.unique(asked["version"]).tolist():
            if versions is None or version in versions:
                yield asked[asked["version"] == version]
