from __future__ import annotations

import pytest

from registry.records import Variant
from serving.feedback import ABSOLUTE_ERROR, ACCURACY, ItemRefused, compared
from serving.request_ids import RequestId


def answer(*predictions: str | float | bool, known: bool = True) -> RequestId:
    told = predictions if known else None
    return RequestId("00", 0.0, "digits", 1, Variant.CHAMPION, None, told)


@pytest.mark.parametrize(
    ("said", "label", "value"),
    [
        (7, 7, 1.0),
        (7, "7", 1.0),
        (7, 7.0, 1.0),
        (7, 8, 0.0),
        ("cat", "cat", 1.0),
        (True, True, 1.0),
        (True, 1, 0.0),
    ],
)
def test_a_class_is_right_or_wrong(said: str | float | bool, label: object, value: float) -> None:
    assert compared(answer(said), label) == (ACCURACY, value)


def test_several_rows_give_the_share_that_is_right() -> None:
    assert compared(answer(1, 2, 3, 4), [1, 2, 3, 0]) == (ACCURACY, 0.75)


def test_a_number_is_so_far_off() -> None:
    assert compared(answer(1.5, 2.5), [1, 4]) == (ABSOLUTE_ERROR, 1.0)


@pytest.mark.parametrize(
    ("told", "label", "said"),
    [
        (answer(known=False), 1, "send a score instead"),
        (answer(1, 2), 1, "1 labels for 2 predictions"),
        (answer(1), [[1]], "a label is a text"),
        (answer(1.5), "far", "must be a number"),
        (answer(1.5), 10**400, "must be a number"),
        (answer(1.5), "inf", "not a finite number"),
    ],
)
def test_what_cannot_be_compared_is_refused(told: RequestId, label: object, said: str) -> None:
    with pytest.raises(ItemRefused, match=said):
        compared(told, label)
