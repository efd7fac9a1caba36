"""The kit for notifiers accepts a good one and names what is wrong with each bad one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from config.errors import UnavailableError
from optimizers.notifications.base import Event
from optimizers.testing import check_notifier


class Pigeon:
    """Carries letters into a list."""

    name = "pigeon"

    def __init__(self) -> None:
        self.letters: list[str] = []

    def send(self, event: Event, timeout_s: float) -> None:  # noqa: ARG002
        self.letters.append(f"{event.text} {dict(event.details)}")


class Lazy(Pigeon):
    def send(self, event: Event, timeout_s: float) -> None:
        pass


class Lost(Pigeon):
    def send(self, event: Event, timeout_s: float) -> None:  # noqa: ARG002
        raise UnavailableError("the sky is closed")


class AsciiOnly(Pigeon):
    def send(self, event: Event, timeout_s: float) -> None:
        event.text.encode("ascii")
        super().send(event, timeout_s)


class Slow(Pigeon):
    def send(self, event: Event, timeout_s: float) -> None:
        threading.Event().wait(timeout_s + 1.2)
        super().send(event, timeout_s)


class Named(Pigeon):
    name = "Pigeon Post"


class Digs(Pigeon):
    """Adds a secret of its own to what it tells."""

    def send(self, event: Event, timeout_s: float) -> None:
        super().send(event, timeout_s)
        self.letters.append("hunter2hunter2")


def test_a_good_notifier_passes() -> None:
    pigeon = Pigeon()
    check_notifier(pigeon, received=lambda: "".join(pigeon.letters))


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (Lazy, "did not arrive"),
        (Lost, "did not go out: the sky is closed"),
        (AsciiOnly, "may raise UnavailableError only, not UnicodeEncodeError"),
        (Slow, "send took"),
        (Named, "the notifier's name is 'Pigeon Post'"),
        (Digs, "a secret arrived"),
    ],
)
def test_each_broken_promise_is_named(bad: Callable[[], Pigeon], sentence: str) -> None:
    pigeon = bad()
    with pytest.raises(AssertionError, match=sentence):
        check_notifier(pigeon, received=lambda: "".join(pigeon.letters), timeout_s=0.05)
