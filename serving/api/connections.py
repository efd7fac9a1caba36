"""Connections to the API: how many there may be, and how long one may take to ask something.

The server below it bounds the size of a request's head and closes idle connections, but it waits
for the rest of a head for ever: with a few hundred half-sent ones nobody else could come in.
"""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""Longest time until the head of a request is there, seconds."""

MOST_CONNECTIONS = 256
"""More than that are closed at once; far fewer than a process may have files open."""

_log = logging.getLogger("prime_spark.api")


class GuardedHttp(H11Protocol):
    """One connection, closed when it is one too many or does not ask in time.

    The time runs from the connection's beginning, later from the first byte after an answer; it is
    not extended by bytes that drip in.
    """

    head_s = HEAD_S
    most = MOST_CONNECTIONS
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless too many connections are open already."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            _log.warning("a connection was refused: %d are open", self.most)
            transport.close()
            return
        self._expect_a_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and see whether a whole head is among them."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_a_head()
        else:
            self._expect_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_a_head(self) -> None:
        if self._due is None and not self.transport.is_closing():
            self._due = self.loop.call_later(self.head_s, self._give_up)

    def _expect_nothing(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        self._due = None
        _log.info("a connection was closed: no request came in %g s", self.head_s)
        self.transport.close()
