from __future__ import annotations

from datetime import UTC, datetime

import pytest

from benchmarks.cache_curves.redis_keys import Limits, listen, looked_up
from config.clock import ManualClock
from config.errors import UnavailableError

HEAD = b"1767225600.5 [0 127.0.0.1:6000] "
MANY = 10**6
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        (b'"GET" "user:1"', [b"user:1"]),
        (b'"get" "a \\"quoted\\" key\\\\"', [b'a \\"quoted\\" key\\\\']),
        (b'"mget" "a" "b" "c"', [b"a", b"b", b"c"]),
        (b'"HGET" "a" "field"', [b"a"]),
        (b'"SET" "a" "GET"', []),
        (b'"DEL" "a"', []),
        (b'"GET"', []),
        (b"", []),
    ],
)
def test_keys_that_are_looked_up(line: bytes, keys: list[bytes]) -> None:
    assert looked_up(line) == keys


class _Says:
    """A connection on which these lines are heard, a tenth of a second apart."""

    def __init__(self, clock: ManualClock, lines: list[object], late_s: float = 0.0) -> None:
        self._clock = clock
        self._lines = [b"OK", *lines]
        self._late_s = late_s

    def send_command(self, command: str) -> None:
        assert command == "MONITOR"

    def read_response(self, **_options: object) -> object:
        self._clock.advance(0.1 + self._late_s)
        return self._lines.pop(0) if self._lines else HEAD + b'"PING"'


def _heard(lines: list[object], limits: Limits, late_s: float = 0.0) -> tuple[int, int, str]:
    clock = ManualClock(START)
    heard = listen(_Says(clock, lines, late_s), clock, limits)  # type: ignore[arg-type]
    return heard.keys.size, heard.commands, heard.ended


def test_it_ends_in_time() -> None:
    assert _heard([HEAD + b'"GET" "a"'] * 5, Limits(2.0, MANY)) == (5, 20, "")


def test_it_ends_after_so_many_commands_and_bytes() -> None:
    lines: list[object] = [HEAD + b'"GET" "a"'] * 50
    assert _heard(lines, Limits(100.0, commands=20)) == (20, 20, "after 20 commands")
    size, _, ended = _heard(lines, Limits(100.0, MANY, megabytes=0.001))
    assert size < 50
    assert ended == "after 0.001 MB"


def test_it_ends_when_it_cannot_keep_up() -> None:
    # The server says the same time again and again, while ours passes.
    _, commands, ended = _heard([HEAD + b'"GET" "a"'] * 3000, Limits(1e6, MANY), late_s=1.0)
    assert commands == 1024
    assert "keep up" in ended


def test_the_same_key_in_another_database_is_another_key() -> None:
    clock = ManualClock(START)
    lines: list[object] = [b'1.5 [%d lua] "GET" "a"' % database for database in (0, 0, 7)]
    heard = listen(_Says(clock, lines), clock, Limits(0.35, MANY))  # type: ignore[arg-type]
    assert len(set(heard.keys.tolist())) == 2


@pytest.mark.parametrize("line", [b"nonsense", 7, None])
def test_what_is_no_monitor_is_refused(line: object) -> None:
    with pytest.raises(UnavailableError, match="makes no sense"):
        _heard([line], Limits(1.0, MANY))
