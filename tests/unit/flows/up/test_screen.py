from __future__ import annotations

import re
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from config.clock import ManualClock
from flows.up.screen import (
    MAX_WIDTH,
    PlainScreen,
    Screen,
    ServiceState,
    TerminalScreen,
    open_screen,
)

_ESCAPES = re.compile(r"\x1b(\][^\x1b\x07]*(\x1b\\|\x07)|\[[0-9;?]*[A-Za-z])")
_LONG = (
    "v2 answered 7,000 labelled requests and was right in 96.1 % of them, the champion in 88.2 %; "
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2030, 1, 1, tzinfo=UTC))


def _play(screen: Screen, clock: ManualClock) -> None:
    screen.service("Prefect", ServiceState.STARTING)
    clock.advance(2.5)
    screen.service("Prefect", ServiceState.READY, 2.5)
    screen.links({"Prefect UI": "http://127.0.0.1:4200"})
    screen.chapter(1, "a better model arrives")
    screen.status("waiting for labels")
    screen.line(_LONG * 2)
    screen.done(True, "it won")
    screen.done(False, "v3 was not rejected")
    screen.close()


def test_a_pipe_gets_one_plain_line_for_each_thing(clock: ManualClock) -> None:
    stream = StringIO()
    screen = open_screen(clock, stream)
    assert isinstance(screen, PlainScreen)
    _play(screen, clock)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "   2.5 s  Prefect      ready (2.5 s)\n" in text
    assert "Prefect UI   http://127.0.0.1:4200\n" in text
    assert "— 1. a better model arrives\n" in text
    assert "ok: it won\n" in text
    assert "FAILED: v3 was not rejected\n" in text


def test_a_status_does_not_flood_a_pipe(clock: ManualClock) -> None:
    stream = StringIO()
    screen = PlainScreen(clock, stream)
    for count in range(100):
        clock.advance(0.5)
        screen.status(f"{count} requests")
    assert len(stream.getvalue().splitlines()) == 5


@pytest.mark.parametrize("width", [60, 100, 250])
def test_a_terminal_shows_everything_within_its_width(clock: ManualClock, width: int) -> None:
    stream = StringIO()
    console = Console(file=stream, force_terminal=True, width=width, height=40, highlight=False)
    console.width = min(width, MAX_WIDTH)
    _play(TerminalScreen(clock, console), clock)
    lines = _ESCAPES.sub("", stream.getvalue()).replace("\r", "\n").splitlines()
    text = " ".join(line.strip() for line in lines)
    assert max(len(line) for line in lines) <= MAX_WIDTH
    for shown in (
        "✓ Prefect ready in 2.5 s",
        "http://127.0.0.1:4200",
        "1  a better model",
        "✓ it won",
    ):
        assert shown in text
    assert "✗ v3 was not rejected" in text


def test_the_cursor_comes_back(clock: ManualClock) -> None:
    stream = StringIO()
    screen = TerminalScreen(clock, Console(file=stream, force_terminal=True, width=80))
    screen.close()
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1


def test_markup_in_a_text_is_shown_not_obeyed(clock: ManualClock) -> None:
    stream = StringIO()
    screen = TerminalScreen(clock, Console(file=stream, force_terminal=True, width=80))
    screen.line("[bold]model [/nonsense] 1")
    screen.status("[/]")
    screen.close()
    assert "[bold]model [/nonsense] 1" in _ESCAPES.sub("", stream.getvalue())
