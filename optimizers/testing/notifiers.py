"""What every notifier has to keep."""

from __future__ import annotations

import time
from collections.abc import Callable

from config.errors import UnavailableError
from optimizers.notifications.base import MAX_TEXT, Event, Notices, Notifier
from optimizers.testing.asserting import require, require_name

_SECRET = "hunter2hunter2"  # noqa: S105 - it is looked for in what arrives
_AT = 1_700_000_000.0
_GRACE_S = 1.0

_HOSTILE = (
    "",
    "two\nlines\r\nand \x1b[31mcolour\x1b[0m and a \x00 byte",
    "ü – 語 🙂 \u202e right to left",
    "{0} %s $(id) `id` <b>bold</b> ' \" \\",
    "long " * MAX_TEXT,
)


def check_notifier(
    notifier: Notifier, *, received: Callable[[], str], timeout_s: float = 5.0
) -> None:
    """Check that a notifier, whose other side works, keeps what the seam promises.

    Args:
        notifier: the notifier.
        received: returns all that has arrived at the other side so far, as one text.
        timeout_s: longest time for telling one event, seconds.

    Raises:
        AssertionError: a promise is not kept; the text says which.
    """
    require(isinstance(notifier, Notifier), "a notifier has a name, and send")
    require_name(notifier.name, "the notifier's name")
    for text in _HOSTILE:
        _check_send(notifier, text, timeout_s)
    _check_through_the_queue(notifier, received, timeout_s)


def _check_send(notifier: Notifier, text: str, timeout_s: float) -> None:
    began = time.monotonic()
    try:
        notifier.send(Event("action", "action-1", text, _AT), timeout_s)
    except UnavailableError as error:
        raise AssertionError(f"an event of text {text[:40]!r} did not go out: {error}") from error
    except Exception as error:
        kind = type(error).__name__
        raise AssertionError(
            f"send may raise UnavailableError only, not {kind}: {error} (text {text[:40]!r})"
        ) from error
    took = time.monotonic() - began
    limit = timeout_s + _GRACE_S
    require(took <= limit, f"send took {took:.1f} s where {timeout_s:g} s were allowed")


def _check_through_the_queue(
    notifier: Notifier, received: Callable[[], str], timeout_s: float
) -> None:
    text = "conformance check: the database is http://me:" + _SECRET + "@db/"
    notices = Notices([notifier], timeout_s=timeout_s)
    notices.publish(Event("check", "kit", text, _AT, details={"api_token": _SECRET}))
    notices.close(timeout_s + _GRACE_S)
    arrived = received()
    require(not any(notices.dropped.values()), "an event was not told")
    require("conformance check" in arrived, "the text of an event did not arrive")
    require(_SECRET not in arrived, "a secret arrived at the other side")
