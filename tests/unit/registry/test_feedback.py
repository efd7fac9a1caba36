"""Feedback: counted once, in bulk, quickly; and shadow answers in pairs."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
from sqlalchemy import Engine, insert, text

from config.errors import InputError
from registry.feedback import FeedbackStore
from registry.ledger.database import open_ledger, writing
from registry.ledger.schema import feedback
from registry.records import (
    FeedbackCounts,
    FeedbackItem,
    MetricTotals,
    PairedTotals,
    ShadowScore,
    Variant,
)
from tests.services.processes import wait_until

AT = 1_750_003_230.0  # half a minute past


def _item(number: int = 0, value: float = 1.0, variant: Variant = Variant.CHAMPION) -> FeedbackItem:
    return FeedbackItem(
        nonce=f"nonce-{number:06d}",
        model="digits",
        version=1 if variant is Variant.CHAMPION else 2,
        variant=variant,
        experiment_id="exp-1",
        metric="accuracy",
        value=value,
        label="7",
        at=AT,
    )


def test_items_add_up_by_variant(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    items = [_item(0), _item(1, 0.0), _item(2, 0.5, Variant.CHALLENGER)]
    assert store.record(items) == FeedbackCounts(3, 0)
    assert store.totals("exp-1", "accuracy") == {
        Variant.CHAMPION: MetricTotals(2, 1.0, 1.0, AT),
        Variant.CHALLENGER: MetricTotals(1, 0.5, 0.25, AT),
    }
    assert store.totals("exp-1", "renamed") == {}
    assert store.totals("exp-2", "accuracy") == {}


def test_nothing_is_fine(ledger: Engine) -> None:
    assert FeedbackStore(ledger).record([]) == FeedbackCounts(0, 0)


def test_the_first_of_equal_items_counts(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    assert store.record([_item(0, 1.0), _item(0, 0.0), _item(1)]) == FeedbackCounts(2, 1)
    assert store.record([_item(0, 0.0), _item(2)]) == FeedbackCounts(1, 1)
    assert store.totals("exp-1", "accuracy")[Variant.CHAMPION].total == 3.0


def test_one_answer_may_have_several_metrics(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    assert store.record([_item(0), replace(_item(0), metric="clicks")]) == FeedbackCounts(2, 0)
    assert store.totals("exp-1", "clicks")[Variant.CHAMPION].count == 1


def test_late_items_add_to_their_minute(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    store.record([replace(_item(0), at=AT)])
    store.record([replace(_item(1), at=AT - 10), replace(_item(2), at=AT - 600)])
    assert store.totals("exp-1", "accuracy")[Variant.CHAMPION].last_at == AT
    assert store.version_totals("digits", 1, "accuracy", AT).count == 2
    assert store.version_totals("digits", 1, "accuracy", AT - 700).count == 3
    assert store.version_totals("digits", 2, "accuracy", 0) == MetricTotals()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_spoils_nothing(ledger: Engine, value: float) -> None:
    store = FeedbackStore(ledger)
    with pytest.raises(InputError, match="finite"):
        store.record([_item(0), _item(1, value)])
    assert store.totals("exp-1", "accuracy") == {}


def test_a_thousand_items_are_one_quick_transaction(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    started = time.perf_counter()
    assert store.record([_item(n) for n in range(1000)]).accepted == 1000
    assert store.record([_item(n) for n in range(1000)]).duplicate == 1000
    # About 0.04 s on an idle machine; the bound leaves room for a busy one.
    assert time.perf_counter() - started < 2.0


def test_pruning_forgets_items_but_not_the_sums_of_experiments(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    free = replace(_item(5), experiment_id=None)
    store.record([_item(0), free, replace(free, nonce="new", at=AT + 600)])
    assert store.prune(AT + 300) == 2
    assert store.totals("exp-1", "accuracy")[Variant.CHAMPION].count == 1
    assert store.version_totals("digits", 1, "accuracy", 0).count == 2


def _send(url: str, backwards: bool) -> None:
    store = FeedbackStore(open_ledger(url))
    for start in range(0, 1000, 100):
        chunk = [_item(n) for n in range(start, start + 100)]
        store.record(chunk[::-1] if backwards else chunk)


def test_the_same_items_from_several_processes_count_once(ledger: Engine, ledger_url: str) -> None:
    context = multiprocessing.get_context("fork")
    senders = [context.Process(target=_send, args=(ledger_url, n % 2 == 1)) for n in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert [sender.exitcode for sender in senders] == [0] * 4
    assert FeedbackStore(ledger).totals("exp-1", "accuracy")[Variant.CHAMPION].count == 1000


def _is_waiting(ledger: Engine) -> bool:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with ledger.connect() as connection:
        return bool(connection.scalar(query))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_writers_of_the_same_items_never_wait_for_each_other_in_a_circle(
    postgres_url: str, order: tuple[int, int]
) -> None:
    ledger = open_ledger(postgres_url)
    store = FeedbackStore(ledger)
    rows = [asdict(_item(n)) | {"variant": "champion"} for n in (0, 1)]
    with ThreadPoolExecutor(1) as pool:
        with writing(ledger) as connection:
            connection.execute(insert(feedback), rows[0])
            # Had it taken item 1 before it waits for item 0, the next statement would wait for
            # it in turn.
            other = pool.submit(store.record, [_item(n) for n in order])
            wait_until(lambda: _is_waiting(ledger), 30, "the other writer waits")
            connection.execute(insert(feedback), rows[1])
        assert other.result(30) == FeedbackCounts(0, 2)
    ledger.dispose()


def _shadow(
    number: int, prediction: str | None, champion: str | None, *, error: bool = False
) -> ShadowScore:
    return ShadowScore(
        nonce=f"nonce-{number:06d}",
        model="digits",
        version=2,
        experiment_id="exp-1",
        prediction=prediction,
        champion_prediction=champion,
        error=error,
        latency_ms=3.0,
        champion_latency_ms=2.0,
        at=AT,
    )


def test_pairs_compare_both_versions_on_the_same_labels(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    scores = [
        _shadow(0, "7", "7"),  # both right
        _shadow(1, "7", "1"),  # only the challenger
        _shadow(2, "1", "7"),  # only the champion
        _shadow(3, None, "7", error=True),  # the challenger failed
        _shadow(4, "7", "7"),  # no label ever came
        _shadow(5, None, None),  # predictions too large to keep
    ]
    assert store.record_shadow(scores) == 6
    assert store.record_shadow(scores) == 0
    store.record([_item(n) for n in (0, 1, 2, 3, 5)])
    assert store.paired("exp-1", "accuracy") == PairedTotals(
        n=4,
        diff_sum=-1.0,
        diff_sumsq=3.0,
        champion_sum=3.0,
        challenger_sum=2.0,
        scored=6,
        compared=4,
        agreed=2,
        challenger_errors=1,
    )


def test_latencies_are_paired_where_the_shadow_answered(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    store.record_shadow([_shadow(0, "7", "7"), _shadow(1, None, "7", error=True)])
    paired = store.paired("exp-1", "latency_ms")
    assert (paired.n, paired.diff_sum, paired.champion_sum) == (1, 1.0, 2.0)


def test_a_metric_that_cannot_be_paired_has_no_pairs(ledger: Engine) -> None:
    store = FeedbackStore(ledger)
    store.record_shadow([_shadow(0, "7", "7")])
    paired = store.paired("exp-1", "clicks")
    assert (paired.n, paired.scored, paired.agreed) == (0, 1, 1)
    assert store.paired("exp-9", "accuracy") == PairedTotals()
    assert store.record_shadow([]) == 0
