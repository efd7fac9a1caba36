"""Feedback: labels and scores for answers given earlier, checked and written to the ledger.

The status 200 means that the items are committed in the ledger, each counted once however often
it is sent. When the ledger is down, or more requests wait than the bounded queue holds, the answer
is 503 with Retry-After and nothing is kept: the client sends the same again later, which is safe.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from config.clock import Clock, epoch
from config.settings import ServingSettings
from registry.records import FeedbackCounts, FeedbackItem
from serving.ledger import LedgerLink
from serving.replies import Refusal, later
from serving.request_ids import ForgedRequestId, RequestId, RequestIdSigner
from serving.state import Totals

_DAY_S = 86_400.0
_AHEAD_S = 300.0
_QUEUE = 1000
_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_LABEL_LENGTH = 200
ACCURACY = "accuracy"
ABSOLUTE_ERROR = "absolute_error"

Scalar = str | int | float | bool


class ItemRefused(Exception):
    """One item of a request cannot be counted; the text says why."""


@dataclass(slots=True)
class FeedbackResult:
    """What became of the items of one request."""

    accepted: int = 0
    duplicate: int = 0
    refused: list[dict[str, object]] = field(default_factory=list)

    def body(self) -> dict[str, object]:
        """Return the JSON answer."""
        return {
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "refused": len(self.refused),
            "reasons": self.refused,
        }


class FeedbackDesk:
    """Takes feedback requests on the event loop and writes them on a thread."""

    def __init__(
        self,
        ledger: LedgerLink,
        signer: RequestIdSigner,
        clock: Clock,
        settings: ServingSettings,
        *,
        totals: Totals,
        executor: Executor,
    ) -> None:
        self._ledger = ledger
        self._signer = signer
        self._clock = clock
        self._settings = settings
        self._totals = totals
        self._executor = executor
        self._waiting = 0

    async def take(self, body: object) -> FeedbackResult:
        """Check the items of a request and commit the good ones.

        Raises:
            Refusal: the request is not feedback (422), too long (413), or cannot be taken now
                (503).
            LedgerUnavailable: nothing was counted; the same may be sent again.
        """
        items, result = self._checked(_listed(body, self._settings.feedback_max_items))
        if items:
            counts = await self._write(items)
            result.accepted, result.duplicate = counts
        self._totals.feedback_accepted += result.accepted
        self._totals.feedback_duplicate += result.duplicate
        self._totals.feedback_refused += len(result.refused)
        return result

    async def _write(self, items: list[FeedbackItem]) -> tuple[int, int]:
        if self._waiting >= _QUEUE:
            raise later(f"{self._waiting} feedback requests wait for the ledger already", 1.0)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            counts = await loop.run_in_executor(self._executor, self._record, items)
        finally:
            self._waiting -= 1
        return counts.accepted, counts.duplicate

    def _record(self, items: list[FeedbackItem]) -> FeedbackCounts:
        return self._ledger.stores().feedback.record(items)

    def _checked(self, raw: Sequence[object]) -> tuple[list[FeedbackItem], FeedbackResult]:
        now = epoch(self._clock.now())
        items: list[FeedbackItem] = []
        result = FeedbackResult()
        for index, one in enumerate(raw):
            try:
                items.append(self._item(one, now))
            except (ItemRefused, ForgedRequestId) as refused:
                result.refused.append({"index": index, "reason": str(refused)})
        return items, result

    def _item(self, raw: object, now: float) -> FeedbackItem:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("request_id"), str):
            raise ItemRefused("an item is an object with the request_id of an answer")
        told = self._signer.read(raw["request_id"])
        self._check_age(told, now)
        label, score = raw.get("label"), raw.get("score")
        if (label is None) == (score is None):
            raise ItemRefused("an item has either a label or a score")
        metric, value = _scored(score) if score is not None else compared(told, label)
        named = raw.get("metric")
        if named is not None:
            metric = _metric(named)
        return FeedbackItem(
            nonce=told.nonce,
            model=told.model,
            version=told.version,
            variant=told.variant,
            experiment_id=told.experiment_id,
            metric=metric,
            value=value,
            label=None if label is None else shown(label),
            at=told.at,
        )

    def _check_age(self, told: RequestId, now: float) -> None:
        days = self._settings.feedback_window_days
        if told.at < now - days * _DAY_S:
            raise ItemRefused(f"the answer is older than the {days:g} days feedback is taken for")
        if told.at > now + _AHEAD_S:
            raise ItemRefused("the answer lies in the future; check the servers' clocks")


def _listed(body: object, limit: int) -> list[object]:
    if not isinstance(body, Mapping):
        raise Refusal(422, 'feedback is an object: {"items": [{"request_id": …, "label": …}]}')
    items = body.get("items", [body] if "request_id" in body else None)
    if not isinstance(items, list) or not items:
        raise Refusal(422, "items must be a list of at least one object with a request_id")
    if len(items) > limit:
        raise Refusal(413, f"{len(items)} items in one request; at most {limit} are allowed")
    return items


def _scored(score: object) -> tuple[str, float]:
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ItemRefused("a score is a number")
    value = float(score)
    if not math.isfinite(value) or abs(value) > 1e150:
        raise ItemRefused("a score is a finite number of reasonable size")
    return "score", value


def compared(told: RequestId, label: object) -> tuple[str, float]:
    """Return metric and value of a label against the predictions in the request id.

    Classes give `accuracy`: the share of rows that agree (1 or 0 for one row). Numbers give
    `absolute_error`, the mean over the rows.

    Raises:
        ItemRefused: there is nothing to compare, or the label has another form.
    """
    predictions = told.predictions
    if predictions is None:
        raise ItemRefused("this answer was too long to carry its predictions; send a score instead")
    labels = label if isinstance(label, list) else [label]
    if len(labels) != len(predictions):
        raise ItemRefused(f"{len(labels)} labels for {len(predictions)} predictions")
    if not all(isinstance(one, str | int | float) for one in labels):
        raise ItemRefused("a label is a text, a number, true or false")
    pairs = list(zip(predictions, labels, strict=True))
    if any(isinstance(said, float) for said in predictions):
        return ABSOLUTE_ERROR, _mean_distance(pairs)
    return ACCURACY, sum(_same(said, true) for said, true in pairs) / len(pairs)


def _mean_distance(pairs: Sequence[tuple[Scalar, Scalar]]) -> float:
    try:
        value = sum(abs(float(said) - float(true)) for said, true in pairs) / len(pairs)
    except (ValueError, OverflowError):
        raise ItemRefused("this model predicts numbers; the label must be a number") from None
    if not math.isfinite(value):
        raise ItemRefused("the distance between label and prediction is not a finite number")
    return value


def _same(said: Scalar, true: Scalar) -> bool:
    """Compare a class with a label; 3, 3.0 and "3" are the same class, true is not 1."""
    return shown(said) == shown(true)


def shown(label: object) -> str:
    """Return a label or prediction as the text it is compared and kept as."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, bool):
        label = str(label).lower()
    if isinstance(label, list):
        return ",".join(shown(one) for one in label)[:_LABEL_LENGTH]
    return str(label)[:_LABEL_LENGTH]


def _metric(named: object) -> str:
    if not isinstance(named, str) or not _METRIC.fullmatch(named):
        raise ItemRefused("a metric is named with 1 to 64 letters, digits, _ . or -")
    return named
