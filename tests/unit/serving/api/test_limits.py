"""The limits of one caller: requests a minute, and the size and kind of a body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from config.clock import ManualClock
from serving.api.limits import RateLimit, limited_body
from serving.api.problems import Refused
from serving.replies import Message, Receive, Scope

_JSON = (b"content-type", b"application/json")


def test_a_minutes_worth_may_come_at_once_and_no_more(clock: ManualClock) -> None:
    rate = RateLimit(60, clock.monotonic)
    for _ in range(60):
        rate.take("anna")
    with pytest.raises(Refused) as refused:
        rate.take("anna")
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "1"})


def test_it_fills_up_again_evenly(clock: ManualClock) -> None:
    rate = RateLimit(60, clock.monotonic)
    for _ in range(60):
        rate.take("anna")
    clock.advance(2.0)
    rate.take("anna")
    rate.take("anna")
    with pytest.raises(Refused):
        rate.take("anna")


def test_one_callers_requests_are_not_anothers(clock: ManualClock) -> None:
    rate = RateLimit(1, clock.monotonic)
    rate.take("anna")
    rate.take("bert")
    with pytest.raises(Refused):
        rate.take("anna")


def test_a_long_rest_gives_no_more_than_a_minutes_worth(clock: ManualClock) -> None:
    rate = RateLimit(2, clock.monotonic)
    clock.advance(86_400.0)
    rate.take("anna")
    rate.take("anna")
    with pytest.raises(Refused):
        rate.take("anna")


def test_callers_that_are_no_more_are_forgotten(clock: ManualClock) -> None:
    rate = RateLimit(1, clock.monotonic)
    for number in range(30_000):
        rate.take(str(number))
    assert len(rate._buckets) <= 10_000


def _asked(*headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "headers": list(headers)}


def _sent(pieces: Iterable[bytes]) -> Receive:
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    left = iter(waiting)

    async def receive() -> Message:
        return next(left, {"type": "http.disconnect"})

    return receive


async def test_a_body_is_handed_on_as_a_whole() -> None:
    again = await limited_body(_asked(_JSON), _sent([b"{", b"}"]), 10)
    assert again is not None
    assert (await again())["body"] == b"{}"
    assert (await again())["type"] == "http.disconnect"


async def test_a_body_that_grows_beyond_the_limit_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        await limited_body(_asked(_JSON), _sent([b"x" * 6, b"x" * 6]), 10)
    assert refused.value.status == 413


@pytest.mark.parametrize("length", [b"11", b"9" * 30, b"-1", b"\xff", b"1_0"])
async def test_a_body_that_is_announced_too_large_is_not_read(length: bytes) -> None:
    async def never() -> Message:
        pytest.fail("it was read")

    with pytest.raises(Refused) as refused:
        await limited_body(_asked(_JSON, (b"content-length", length)), never, 10)
    assert refused.value.status == 413


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/x-www-form-urlencoded"])
async def test_a_body_that_a_foreign_form_could_send_is_refused(kind: bytes) -> None:
    with pytest.raises(Refused) as refused:
        await limited_body(_asked((b"content-type", kind)), _sent([b"{}"]), 10)
    assert refused.value.status == 415


async def test_a_client_that_goes_away_is_let_go() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    assert await limited_body(_asked(_JSON), gone, 10) is None


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.api.limits._BODY_S", 0.01)

    async def never() -> Message:
        await asyncio.Event().wait()
        pytest.fail("it came")

    with pytest.raises(Refused) as refused:
        await limited_body(_asked(_JSON), never, 10)
    assert refused.value.status == 408
