from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.records import Variant
from serving.request_ids import ForgedRequestId, RequestIdSigner

KEY = bytes(range(32))


def signed(predictions: bytes = b"[7]", key: bytes = KEY) -> str:
    signer = RequestIdSigner(key)
    context = signer.context("digits", 3, Variant.CHALLENGER, "exp-1")
    return signer.sign(context, 0xAB, 1_700_000_000.9, predictions)


def test_an_id_tells_what_was_answered() -> None:
    told = RequestIdSigner(KEY).read(signed())
    assert (told.model, told.version, told.variant) == ("digits", 3, Variant.CHALLENGER)
    assert told.experiment_id == "exp-1"
    assert told.nonce == "00000000000000ab"
    assert told.at == 1_700_000_000
    assert told.predictions == (7,)


def test_an_answer_too_long_for_its_id_has_no_predictions() -> None:
    assert RequestIdSigner(KEY).read(signed(b"")).predictions is None


@given(st.data())
def test_one_changed_character_is_a_forgery(data: st.DataObject) -> None:
    good = signed()
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    bad = good[:place] + other + good[place + 1 :]
    if bad != good:
        with pytest.raises(ForgedRequestId):
            RequestIdSigner(KEY).read(bad)


@given(st.text(max_size=3000))
def test_any_other_text_is_a_forgery(text: str) -> None:
    with pytest.raises(ForgedRequestId):
        RequestIdSigner(KEY).read(text)


def test_an_id_of_another_home_is_a_forgery() -> None:
    with pytest.raises(ForgedRequestId):
        RequestIdSigner(KEY).read(signed(key=bytes(32)))
