"""Redaction over generated texts: no secret gets through, nothing grows, nothing raises."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.redaction import MASK, redact, redact_mapping

_TOKEN = st.text(string.ascii_letters + string.digits + "._~+-", min_size=6, max_size=40).filter(
    lambda token: token.lower() not in {"bearer", "basic"}
)
_AROUND = st.text(st.characters(exclude_characters="\"'", codec="utf-8"), max_size=30)
_NAMES = st.sampled_from(
    ["password", "api_key", "SECRET", "mlflow_tracking_token", "access-key", "Cookie", "credential"]
)


@given(_AROUND, _NAMES, st.sampled_from(["=", ": ", ":", " = "]), _TOKEN)
def test_a_named_secret_never_gets_through(before: str, name: str, equals: str, token: str) -> None:
    shown = redact(f"{before} {name}{equals}{token}")
    assert not shown.endswith(token)
    assert shown.endswith(MASK)


@given(_AROUND, _TOKEN, _TOKEN)
def test_url_credentials_never_get_through(before: str, user: str, password: str) -> None:
    shown = redact(f"{before} https://{user}:{password}@host/path")
    assert shown.endswith(f"https://{MASK}@host/path")


@given(_TOKEN, st.sampled_from(["Bearer", "bearer", "BASIC"]))
def test_an_authorisation_value_never_gets_through(token: str, kind: str) -> None:
    assert token not in redact(f"sent {kind} {token}").split()


@given(st.text(max_size=300))
def test_any_text_is_taken_and_masking_twice_is_masking_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=10))
def test_a_mapping_keeps_its_keys(values: dict[str, str]) -> None:
    assert list(redact_mapping(values)) == list(values)


@pytest.mark.parametrize("piece", ["a", "a-", "token", "token ", "x://", "a@", "'", "bearer "])
def test_a_long_text_is_searched_in_linear_time(piece: str) -> None:
    # A quadratic search would take minutes here, and the test's time limit would end it.
    text = piece * (1_000_000 // len(piece))

    assert len(redact(text)) > 0
