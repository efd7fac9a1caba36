"""What `prime-spark up` shows: servers as they start, links, and a timeline of what happens.

`TerminalScreen` keeps a live foot under lines that stay; `PlainScreen` prints lines only, for
pipes and log files. Both may be used from several threads.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from config.clock import Clock

MAX_WIDTH = 100
_NAME_WIDTH = 12


class ServiceState(StrEnum):
    """How far a server has come."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    EXTERNAL = "yours"  # set by the user; used, neither started nor stopped
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Screen(Protocol):
    """The seam between what happens and how it is shown."""

    def service(
        self, name: str, state: ServiceState, seconds: float | None = None, note: str = ""
    ) -> None:
        """Show the state of a server, the seconds it took, and a short note."""
        ...

    def links(self, links: dict[str, str]) -> None:
        """Show addresses by name, where they stay in sight."""
        ...

    def chapter(self, number: int, title: str) -> None:
        """Begin a chapter of the story."""
        ...

    def line(self, text: str) -> None:
        """Add a line that stays, with the seconds since the start before it."""
        ...

    def status(self, text: str) -> None:
        """Say what is going on right now; the next status, or the chapter's end, replaces it."""
        ...

    def done(self, ok: bool, reason: str) -> None:
        """End the chapter: whether it came out as told, and how it came out."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found."""
        ...


def open_screen(clock: Clock, stream: IO[str] | None = None) -> Screen:
    """Return a live screen on a terminal, plain lines elsewhere."""
    stream = stream or sys.stdout
    console = Console(file=stream, highlight=False, soft_wrap=False)
    if console.is_terminal and not console.is_dumb_terminal:
        console.width = min(console.width, MAX_WIDTH)
        return TerminalScreen(clock, console)
    return PlainScreen(clock, stream)


@dataclass(frozen=True, slots=True)
class _Service:
    state: ServiceState
    since: float
    seconds: float | None = None
    note: str = ""


class PlainScreen:
    """One line for each thing that happened; a status is shown only when it is ten seconds new."""

    _STATUS_SECONDS = 10.0

    def __init__(self, clock: Clock, stream: IO[str]) -> None:
        self._clock = clock
        self._stream = stream
        self._started = clock.monotonic()
        self._last_status = clock.monotonic()
        self._lock = threading.Lock()

    def service(
        self, name: str, state: ServiceState, seconds: float | None = None, note: str = ""
    ) -> None:
        """Print the new state."""
        took = "" if seconds is None else f" ({seconds:.1f} s)"
        self._print(f"{name:<{_NAME_WIDTH}} {state.value}{took}{_after_dash(note)}")

    def links(self, links: dict[str, str]) -> None:
        """Print one address a line."""
        for name, url in links.items():
            self._print(f"{name:<{_NAME_WIDTH}} {url}")

    def chapter(self, number: int, title: str) -> None:
        """Print the chapter's heading."""
        self._print(f"— {number}. {title}")
        self._last_status = self._clock.monotonic()

    def line(self, text: str) -> None:
        """Print the line."""
        self._print(f"  {text}")

    def status(self, text: str) -> None:
        """Print the status if none was printed for a while."""
        if self._clock.monotonic() - self._last_status >= self._STATUS_SECONDS:
            self._last_status = self._clock.monotonic()
            self._print(f"  … {text}")

    def done(self, ok: bool, reason: str) -> None:
        """Print how the chapter ended."""
        self._print(f"  {'ok' if ok else 'FAILED'}: {reason}")

    def close(self) -> None:
        """Flush what was printed."""
        self._stream.flush()

    def _print(self, text: str) -> None:
        with self._lock:
            passed = self._clock.monotonic() - self._started
            self._stream.write(f"{passed:6.1f} s  {text}\n")
            self._stream.flush()


_STYLE = {
    ServiceState.WAITING: ("·", "dim"),
    ServiceState.STARTING: ("", "yellow"),
    ServiceState.READY: ("✓", "green"),
    ServiceState.EXTERNAL: ("✓", "cyan"),
    ServiceState.FAILED: ("✗", "bold red"),
    ServiceState.STOPPING: ("", "yellow"),
    ServiceState.STOPPED: ("·", "dim"),
}
_MOVING = {ServiceState.STARTING, ServiceState.STOPPING}
_LASTING = {ServiceState.READY, ServiceState.EXTERNAL, ServiceState.FAILED}
_SETTLED = {ServiceState.READY, ServiceState.EXTERNAL}


class TerminalScreen:
    """Lines that stay, over a live foot with the servers, the links and the present status."""

    def __init__(self, clock: Clock, console: Console) -> None:
        self._clock = clock
        self._console = console
        self._started = clock.monotonic()
        self._services: dict[str, _Service] = {}
        self._links: dict[str, str] = {}
        self._chapter = ""
        self._status = ""
        self._lock = threading.Lock()
        self._spinner = Spinner("dots", style="yellow")
        self._moving = Spinner("dots", style="yellow")
        self._live = Live(
            get_renderable=self._foot,
            console=console,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def service(
        self, name: str, state: ServiceState, seconds: float | None = None, note: str = ""
    ) -> None:
        """Show the new state in the foot; that it answers, or failed, also as a lasting line."""
        with self._lock:
            before = self._services.get(name)
            since = self._clock.monotonic()
            if before is not None and before.state == state:
                since = before.since
            self._services[name] = _Service(state, since, seconds, note)
        if state in _LASTING:
            mark, style = _STYLE[state]
            took = "" if seconds is None else f" in {seconds:.1f} s"
            self._stay(Text(f"{mark} {name} {state.value}{took}{_after_dash(note)}", style))

    def links(self, links: dict[str, str]) -> None:
        """Keep the addresses in the foot."""
        with self._lock:
            self._links = dict(links)

    def chapter(self, number: int, title: str) -> None:
        """Draw a rule with the chapter's title."""
        with self._lock:
            self._chapter, self._status = title, ""
        self._console.print()
        self._console.print(Rule(Text(f"{number}  {title}", "bold"), align="left", style="dim"))

    def line(self, text: str) -> None:
        """Add the line above the foot."""
        self._stay(Text(text))

    def status(self, text: str) -> None:
        """Replace the status in the foot."""
        with self._lock:
            self._status = text

    def done(self, ok: bool, reason: str) -> None:
        """Add the chapter's end above the foot and clear the status."""
        with self._lock:
            self._chapter = self._status = ""
        mark = Text("✓ ", "bold green") if ok else Text("✗ ", "bold red")
        self._stay(mark + Text(reason, "green" if ok else "bold red"))

    def close(self) -> None:
        """Draw the foot a last time and stop refreshing it."""
        self._live.stop()

    def _stay(self, text: Text) -> None:
        row = Table.grid(padding=(0, 1))
        row.add_column(justify="right", width=8, style="dim")
        row.add_column(ratio=1)
        row.add_row(f"{self._clock.monotonic() - self._started:.1f} s", text)
        self._console.print(row)

    def _foot(self) -> RenderableType:
        with self._lock:
            services, links = dict(self._services), dict(self._links)
            chapter, status = self._chapter, self._status
        parts: list[RenderableType] = [Text()]
        if any(service.state not in _SETTLED for service in services.values()):
            parts.append(self._service_table(services))
        if links:
            parts.append(_link_table(links))
        if status or chapter:
            self._spinner.update(text=Text(status or chapter))
            parts.append(Padding(self._spinner, (1, 0, 0, 0)))
        return Group(*parts)

    def _service_table(self, services: dict[str, _Service]) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, service in services.items():
            mark, style = _STYLE[service.state]
            table.add_row(
                self._moving if service.state in _MOVING else Text(mark, style),
                Text(name, "bold"),
                Text(service.state.value, style),
                Text(self._seconds(service), "dim"),
                Text(service.note, "dim"),
            )
        return table

    def _seconds(self, service: _Service) -> str:
        if service.seconds is not None:
            return f"{service.seconds:.1f} s"
        if service.state in _MOVING:
            return f"{self._clock.monotonic() - service.since:.0f} s"
        return ""


def _link_table(links: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, url in links.items():
        table.add_row(Text(name, "bold"), Text(url, f"cyan link {url}"))
    return table


def _after_dash(note: str) -> str:
    return f" — {note}" if note else ""
