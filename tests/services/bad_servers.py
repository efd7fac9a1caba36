"""Servers that misbehave on purpose: silence, drips, errors, nonsense."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.services.processes import LOOPBACK

Behaviour = Callable[[socket.socket], None]


def answers(body: bytes, status: str = "200 OK") -> Behaviour:
    """Answer every request the same way."""

    def behave(connection: socket.socket) -> None:
        connection.recv(2**16)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    return behave


def keeping_for_one(body: bytes, *, reset: bool = False) -> Behaviour:
    """Answer once and keep the connection open, but close or reset it once it is used again."""

    def behave(connection: socket.socket) -> None:
        connection.recv(2**16)
        connection.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        connection.recv(2**16)
        if reset:
            at_once = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    return behave


def silent(connection: socket.socket) -> None:
    """Take the request and say nothing until the client goes away."""
    connection.recv(2**16)
    connection.recv(2**16)


def dripping(connection: socket.socket) -> None:
    """Promise a long answer and send a byte of it ten times a second."""
    connection.recv(2**16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def hanging_up(connection: socket.socket) -> None:
    """Close the connection in the middle of an answer."""
    connection.recv(2**16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")


def gibberish(connection: socket.socket) -> None:
    """Speak another protocol."""
    connection.recv(2**16)
    connection.sendall(b"\x00\xff220 mail.example ESMTP\r\n\r\n")


@contextmanager
def misbehaving(behave: Behaviour) -> Iterator[str]:
    """Run such a server; gives its address."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, behave), daemon=True)
        thread.start()
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _serve(listener: socket.socket, behave: Behaviour) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_one, args=(connection, behave), daemon=True).start()


def _one(connection: socket.socket, behave: Behaviour) -> None:
    with connection, suppress(OSError):
        behave(connection)
