"""Scores of answers, counted once each, and the answers of shadow versions beside them.

Labels arrive late, in bulk and sometimes twice. An item is known by its nonce and metric; the
first one counts, whatever a later one says. The sums are kept by minute in the transaction that
stores the items, so reading them costs the same at a thousand items as at a million.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    and_,
    case,
    delete,
    func,
    select,
)

from config.errors import InputError
from registry.ledger.database import insert_into, reading, writing
from registry.ledger.schema import feedback, feedback_minutes, shadow_scores
from registry.records import (
    FeedbackCounts,
    FeedbackItem,
    MetricTotals,
    PairedTotals,
    ShadowScore,
    Variant,
)

_MINUTE_S = 60.0
_PairQuery = Select[tuple[int, float, float, float, float]]
_KEY = ("experiment_id", "model", "version", "variant", "metric", "minute")
_ACCURACY = "accuracy"
_LATENCY = "latency_ms"


class FeedbackStore:
    """Stores and sums feedback in one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, items: Sequence[FeedbackItem]) -> FeedbackCounts:
        """Store items, each (nonce, metric) counted once for good, however many writers send it.

        Raises:
            InputError: a value is not finite; nothing was stored.
            LedgerUnavailable: nothing was stored; the same items may be sent again.
        """
        wrong = next((item for item in items if not math.isfinite(item.value)), None)
        if wrong is not None:
            raise InputError(f"feedback takes finite numbers, not {wrong.value} for {wrong.metric}")
        # The first of each key, in the order of the key, or two writers could wait for each other.
        unique = {(item.nonce, item.metric): item for item in reversed(items)}
        with writing(self._engine) as connection:
            fresh = _insert_new(connection, [unique[key] for key in sorted(unique)])
            _count(connection, [unique[key] for key in sorted(fresh)])
        return FeedbackCounts(len(fresh), len(items) - len(fresh))

    def totals(self, experiment_id: str, metric: str) -> dict[Variant, MetricTotals]:
        """Sums of one metric in an experiment, by variant; a silent variant is absent."""
        columns = feedback_minutes.c
        query = (
            select(columns.variant, *_SUMS)
            .where(columns.experiment_id == experiment_id, columns.metric == metric)
            .group_by(columns.variant)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings()
            return {Variant(row["variant"]): _totals(row) for row in rows}

    def version_totals(self, model: str, version: int, metric: str, since: float) -> MetricTotals:
        """Sums of one metric of a version over answers from the minute of `since` on."""
        columns = feedback_minutes.c
        query = select(*_SUMS).where(
            columns.model == model,
            columns.version == version,
            columns.metric == metric,
            columns.minute >= since - since % _MINUTE_S,
        )
        with reading(self._engine) as connection:
            return _totals(connection.execute(query).mappings().one())

    def prune(self, before: float) -> int:
        """Forget single items older than `before` (epoch seconds); return how many.

        The sums of experiments stay, others go as well. Items may be sent again after that and
        would count anew, so `before` has to be older than the oldest request id still accepted.
        """
        with writing(self._engine) as connection:
            gone = connection.execute(delete(feedback).where(feedback.c.at < before)).rowcount
            connection.execute(delete(shadow_scores).where(shadow_scores.c.at < before))
            old = and_(
                feedback_minutes.c.minute < before - _MINUTE_S,
                feedback_minutes.c.experiment_id == "",
            )
            connection.execute(delete(feedback_minutes).where(old))
        return gone

    def record_shadow(self, scores: Sequence[ShadowScore]) -> int:
        """Store shadow answers, each (nonce, version) once; return how many were new."""
        if not scores:
            return 0
        rows = [asdict(score) | {"experiment_id": score.experiment_id or ""} for score in scores]
        rows.sort(key=lambda row: (row["nonce"], row["version"]))
        with writing(self._engine) as connection:
            statement = insert_into(connection, shadow_scores).on_conflict_do_nothing()
            done = connection.execute(statement.returning(shadow_scores.c.nonce), rows)
            return len(done.all())

    def paired(self, experiment_id: str, metric: str) -> PairedTotals:
        """Compare both versions on the requests that both answered.

        ``accuracy`` is paired where feedback brought a label; a failed shadow answer is a wrong
        one. ``latency_ms`` is paired where the shadow answered. Other metrics are scored by the
        client for the answer it saw, so they have no pairs: ``n`` is 0.
        """
        here = shadow_scores.c.experiment_id == experiment_id
        pairs = _PAIRS.get(metric)
        with reading(self._engine) as connection:
            counts = connection.execute(select(*_SHADOW_COUNTS).where(here)).mappings().one()
            sums: dict[str, Any] = dict(counts)
            if pairs is not None:
                sums |= connection.execute(pairs.where(here)).mappings().one()
        return PairedTotals(**{name: value or 0 for name, value in sums.items()})


def _sum(column: ColumnElement[float], name: str) -> ColumnElement[float]:
    return func.coalesce(func.sum(column), 0).label(name)


_SUMS = (
    _sum(feedback_minutes.c["count"], "count"),
    _sum(feedback_minutes.c.total, "total"),
    _sum(feedback_minutes.c.total_sq, "total_sq"),
    func.max(feedback_minutes.c.last_at).label("last_at"),
)


def _totals(row: RowMapping) -> MetricTotals:
    return MetricTotals(
        int(row["count"]), float(row["total"]), float(row["total_sq"]), row["last_at"]
    )


def _insert_new(connection: Connection, items: list[FeedbackItem]) -> set[tuple[str, str]]:
    if not items:
        return set()
    rows = [
        asdict(item) | {"variant": item.variant.value, "experiment_id": item.experiment_id or ""}
        for item in items
    ]
    statement = insert_into(connection, feedback).on_conflict_do_nothing()
    done = connection.execute(statement.returning(feedback.c.nonce, feedback.c.metric), rows)
    return {(row.nonce, row.metric) for row in done}


def _count(connection: Connection, items: Iterable[FeedbackItem]) -> None:
    groups: dict[tuple[str, str, int, str, str, float], list[FeedbackItem]] = {}
    for item in items:
        minute = item.at - item.at % _MINUTE_S
        experiment = item.experiment_id or ""
        key = (experiment, item.model, item.version, item.variant.value, item.metric, minute)
        groups.setdefault(key, []).append(item)
    if not groups:
        return
    statement = insert_into(connection, feedback_minutes)
    old, new = feedback_minutes.c, statement.excluded
    added = {name: old[name] + new[name] for name in ("count", "total", "total_sq")}
    newest = case((new.last_at > old.last_at, new.last_at), else_=old.last_at)
    connection.execute(
        statement.on_conflict_do_update(index_elements=_KEY, set_={**added, "last_at": newest}),
        [dict(zip(_KEY, key, strict=True)) | _group_sums(groups[key]) for key in sorted(groups)],
    )


def _group_sums(items: list[FeedbackItem]) -> dict[str, float]:
    return {
        "count": len(items),
        "total": math.fsum(item.value for item in items),
        "total_sq": math.fsum(item.value**2 for item in items),
        "last_at": max(item.at for item in items),
    }


def _pair_sums(champion: ColumnElement[float], challenger: ColumnElement[float]) -> _PairQuery:
    difference = challenger - champion
    return select(
        func.count().label("n"),
        func.sum(difference).label("diff_sum"),
        func.sum(difference * difference).label("diff_sumsq"),
        func.sum(champion).label("champion_sum"),
        func.sum(challenger).label("challenger_sum"),
    )


def _accuracy_pairs() -> _PairQuery:
    scores = shadow_scores.c
    right = (
        case((scores.champion_prediction == feedback.c.label, 1.0), else_=0.0),
        case((scores.error, 0.0), (scores.prediction == feedback.c.label, 1.0), else_=0.0),
    )
    joined = and_(feedback.c.nonce == scores.nonce, feedback.c.metric == _ACCURACY)
    return (
        _pair_sums(*right)
        .select_from(shadow_scores.join(feedback, joined))
        .where(feedback.c.label.is_not(None), scores.champion_prediction.is_not(None))
        .where(scores.error | scores.prediction.is_not(None))
    )


_PAIRS: Mapping[str, _PairQuery] = {
    _ACCURACY: _accuracy_pairs(),
    _LATENCY: _pair_sums(shadow_scores.c.champion_latency_ms, shadow_scores.c.latency_ms).where(
        ~shadow_scores.c.error
    ),
}
_BOTH = and_(
    shadow_scores.c.prediction.is_not(None), shadow_scores.c.champion_prediction.is_not(None)
)
_ALIKE = and_(_BOTH, shadow_scores.c.prediction == shadow_scores.c.champion_prediction)
_SHADOW_COUNTS = (
    func.count().label("scored"),
    func.sum(case((_BOTH, 1), else_=0)).label("compared"),
    func.sum(case((_ALIKE, 1), else_=0)).label("agreed"),
    func.sum(case((shadow_scores.c.error, 1), else_=0)).label("challenger_errors"),
)
