from __future__ import annotations

import socket

import pytest

from config.errors import ConflictError
from flows.up.ports import hold_port


def _hold(port: int) -> int:
    return hold_port(port, host="127.0.0.1", setting="ports.mlflow").number


def test_a_held_port_is_given_to_nobody_who_does_not_ask_for_it() -> None:
    held = hold_port(0, host="127.0.0.1", setting="ports.mlflow")
    try:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", held.number))
    finally:
        held.release()


def test_the_server_can_listen_on_a_held_port() -> None:
    held = hold_port(0, host="127.0.0.1", setting="ports.mlflow")
    with (
        socket.create_server(("127.0.0.1", held.number)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as connection,
    ):
        assert connection.getpeername()[1] == held.number
    held.release()


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"port {port} .*ports\.mlflow.*free one"):
            _hold(port)


def test_a_released_port_is_free() -> None:
    held = hold_port(0, host="127.0.0.1", setting="ports.mlflow")
    held.release()
    with socket.create_server(("127.0.0.1", held.number)):
        pass
