from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from serving import drain
from serving.drain import Drain, closing, find_server
from serving.replies import Message, Receive, Scope, Send, reply_json


@dataclass(eq=False)
class Connection:
    """A connection of a server: quiet, or with an answer under way."""

    kept: set[Connection]
    busy: bool = False
    told: int = 0

    @property
    def cycle(self) -> object:
        return type("Cycle", (), {"response_complete": not self.busy})

    def shutdown(self) -> None:
        self.told += 1
        if not self.busy:
            self.kept.discard(self)


@dataclass
class Listener:
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@dataclass
class State:
    connections: set[Connection] = field(default_factory=set)


@dataclass
class Server:
    servers: list[Listener] = field(default_factory=lambda: [Listener()])
    server_state: State = field(default_factory=State)
    should_exit: bool = False

    def connect(self, *, busy: bool = False) -> Connection:
        connection = Connection(self.server_state.connections, busy)
        self.server_state.connections.add(connection)
        return connection


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(drain, "find_server", lambda: found)
    return found


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def test_quiet_connections_are_kept_for_a_while_and_busy_ones_told_at_once(
    server: Server,
) -> None:
    quiet, busy = server.connect(), server.connect(busy=True)
    told: list[bool] = []
    Drain(0.3, 5.0, lambda: told.append(True)).begin()
    await until(lambda: busy.told == 1)
    assert told == [True]
    assert server.servers[0].closed
    assert (quiet.told, server.should_exit) == (0, False)
    await until(lambda: quiet.told == 1)
    assert not server.should_exit, "an answer is under way"
    busy.busy = False
    busy.shutdown()
    await until(lambda: server.should_exit)


async def test_without_connections_it_ends_at_once_and_only_once(server: Server) -> None:
    told: list[bool] = []
    going = Drain(60.0, 60.0, lambda: told.append(True))
    going.listen()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: server.should_exit)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
    assert told == [True]


async def test_a_request_that_never_ends_does_not_hold_it_up_for_ever(server: Server) -> None:
    server.connect(busy=True)
    Drain(0.0, 0.1, lambda: None).begin()
    await until(lambda: server.should_exit)


async def test_a_server_that_is_not_known_is_stopped_as_ever() -> None:
    assert find_server() is None
    stopped: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    try:
        Drain(1.0, 1.0, lambda: pytest.fail("it does not drain")).begin()
        await until(lambda: bool(stopped))
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_every_answer_says_that_the_connection_closes() -> None:
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await reply_json(send, 200, {"fine": True})

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        sent.append(message)

    await closing(app)({"type": "http"}, receive, send)
    assert (b"connection", b"close") in sent[0]["headers"]
    assert (b"content-type", b"application/json") in sent[0]["headers"]
    assert sent[1]["body"] == b'{"fine":true}'
