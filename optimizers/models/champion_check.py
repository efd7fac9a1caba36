"""Does a new champion fail, or dawdle, more often than the former one did?

Both served the same traffic, one after the other. Of all failed (or slow) requests, those of the
new champion are weighed against its share of the requests by an e-process, which may be looked at
again and again. Nothing decides here by chance who answers, so a harder hour can look like a worse
version; the level is strict, and the way back costs little.
"""

from __future__ import annotations

from benchmarks.significance import e_process
from optimizers.models.desk import Desk
from registry.records import ExposureTotals

_BASELINE_S = 3600.0


def worsened(
    desk: Desk, model: str, *, new: int, former: int | None, moved_at: float, alpha: float
) -> dict[str, str]:
    """Return the guardrail metrics that got worse, each with a sentence; none without requests.

    Args:
        desk: reads the exposures.
        model: its name.
        new: the champion now.
        former: the champion before; without one there is nothing to compare with.
        moved_at: when the alias moved, seconds since the epoch.
        alpha: the chance of a false alarm for each of the two.

    Raises:
        LedgerUnavailable: the ledger does not answer.
    """
    if former is None:
        return {}
    after = desk.exposures.version_totals(model, new, moved_at)
    before = desk.exposures.version_totals(model, former, moved_at - _BASELINE_S)
    if not after.count or not before.count:
        return {}
    share = after.count / (after.count + before.count)
    found: dict[str, str] = {}
    for metric, word, counts in (
        ("error_rate", "failed", (before.errors, after.errors)),
        ("inference_latency_ms", "were slow", (before.over_objective, after.over_objective)),
    ):
        stage = e_process.Stage(share, *map(float, counts))
        evidence = e_process.e_value(e_process.log_evidence([stage], e_process.ERRORS))
        if evidence >= 1 / alpha:
            found[metric] = _told(word, new, former, counts, (before, after), evidence)
    return found


def _told(
    word: str,
    new: int,
    former: int,
    counts: tuple[int, int],
    totals: tuple[ExposureTotals, ExposureTotals],
    evidence: float,
) -> str:
    before, after = totals
    return (
        f"{counts[1]} of {after.count} requests {word} with version {new}, against {counts[0]} of "
        f"{before.count} with version {former} (evidence {evidence:.3g})"
    )
