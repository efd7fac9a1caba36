"""How the recorded requests of all models cluster, and how unlike each other they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from benchmarks.workers import ALIKE, MIXED


def study_traffic(folder: Path, models: Sequence[str], since: float) -> JsonValue:
    """Return window lengths, dispersion of the arrivals, and variability of the service times.

    None without recorded requests.

    Args:
        folder: of the recorded traffic.
        models: whose requests count.
        since: epoch seconds. What came before is left out: the step from one rate to another looks
            like one huge burst, and would keep workers long after a rush is over.
    """
    import numpy as np  # noqa: PLC0415 - the agent itself does not load it

    from benchmarks.workers_traffic import bursts_of  # noqa: PLC0415
    from registry.traffic import read_traffic  # noqa: PLC0415

    found = {model: list(read_traffic(folder, model).values()) for model in models}
    used = [np.concatenate(rings) for rings in found.values() if any(one.size for one in rings)]
    if not used:
        return None
    records = np.concatenate(used)
    records = records[records["at"] >= since]
    if not records.size:
        return None
    bursts = bursts_of(np.sort(records["at"]))
    rows = records["rows"].astype(np.float64)
    spread = float((rows.std() / rows.mean()) ** 2) if rows.mean() > 0 else 0.0
    return {
        "requests": int(records.size),
        "seconds": list(bursts.seconds),
        "dispersion": list(bursts.dispersion),
        "variability": (ALIKE if len(used) == 1 else MIXED) + spread,
    }
