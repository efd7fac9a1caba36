"""Connections that are kept open for the next call, and closed by a server at the wrong moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import httpx

T = TypeVar("T")

_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


def once_more(ask: Callable[[], T]) -> T:
    """Ask a server, and once more if it cuts the connection off.

    Servers close a connection that was idle for some seconds, perhaps just as it is used again.
    Only for calls that read: the first one may have reached the server.

    Raises:
        httpx.HTTPError: what `ask` raises; when cut off, what it raises the second time.
    """
    try:
        return ask()
    except _CUT_OFF:
        return ask()
