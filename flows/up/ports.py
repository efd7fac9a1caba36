"""Ports that stay ours from the moment they are chosen.

A port that is only looked up can be taken by another program before the server listens on it. So
the socket that found it stays bound, without listening, until the end: the kernel then gives the
port to nobody else, while the server, which asks for address reuse as servers do, can listen.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from config.errors import ConflictError


@dataclass(frozen=True, slots=True)
class HeldPort:
    """A port of the loopback interface and the socket that holds it."""

    number: int
    _socket: socket.socket

    def release(self) -> None:
        """Let the port go."""
        self._socket.close()


def hold_port(wanted: int, *, host: str, setting: str) -> HeldPort:
    """Hold the port `wanted`, or a free one for 0.

    Args:
        wanted: the port set by the user, or 0.
        host: the loopback address to listen on.
        setting: the setting's name, for the error's text.

    Raises:
        ConflictError: the port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, wanted))
    except OSError as error:
        holder.close()
        raise ConflictError(
            f"port {wanted} cannot be used ({error.strerror}); free it, or set {setting} "
            "to another port or to 0 for a free one"
        ) from error
    return HeldPort(holder.getsockname()[1], holder)
