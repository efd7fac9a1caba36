"""Everything that happens, as it happens: the ledger's entries as server-sent events.

One watcher asks the ledger whether there is anything new, however many clients listen; each client
then reads from where it stands, so a slow one holds nobody up, nothing is kept for it in memory,
and one that comes back with `Last-Event-ID` misses nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from http import HTTPStatus

from anyio import CapacityLimiter, to_thread

from config.errors import UnavailableError
from registry.ledger.events import EventLog, LedgerEntry
from serving.api.problems import Refused
from serving.api.texts import clean

MAX_CLIENTS = 32

_PAGE = 100
_POLL_S = 0.5
_KEEP_ALIVE_S = 15.0
# Connections to the ledger that all streams together take at the same time.
_THREADS = 2


class Feed:
    """Follows the event log while somebody listens.

    Args:
        log: the ledger's entries.
        poll_s: between two looks.
        keep_alive_s: something is sent at least this often, or proxies would hang up.
    """

    def __init__(
        self, log: EventLog, *, poll_s: float = _POLL_S, keep_alive_s: float = _KEEP_ALIVE_S
    ) -> None:
        self._log = log
        self._poll_s = poll_s
        self._keep_alive_s = keep_alive_s
        self._head = 0
        self._clients = 0
        self._watcher: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._stopped = False
        self._threads = CapacityLimiter(_THREADS)

    @property
    def clients(self) -> int:
        """How many listen now."""
        return self._clients

    def enter(self) -> None:
        """Take one client's place; `leave` gives it back.

        Raises:
            Refused: all places are taken, or the process is stopping.
        """
        if self._stopped or self._clients >= MAX_CLIENTS:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{MAX_CLIENTS} clients listen already; close one of them",
                {"retry-after": "10"},
            )
        self._clients += 1
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def leave(self) -> None:
        """Give a client's place back; without clients nothing asks the ledger."""
        self._clients -= 1
        if self._clients == 0 and self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def newest(self) -> int:
        """The number of the ledger's last entry; 0 for an empty one."""
        return await to_thread.run_sync(self._log.last_id, limiter=self._threads)

    async def entries(self, after: int) -> AsyncIterator[LedgerEntry | None]:
        """Yield the entries after `after` for ever; None when nothing happened for a while."""
        while not self._stopped:
            try:
                page = await self._page(after)
            except UnavailableError:
                page = []
            for entry in page:
                after = entry.id
                yield entry
            if not page and not await self._wait(after):
                yield None

    async def _page(self, after: int) -> list[LedgerEntry]:
        read = partial(self._log.list, after=after, limit=_PAGE)
        return await to_thread.run_sync(read, limiter=self._threads)

    async def stop(self) -> None:
        """End all streams; clients come back to the next process by themselves."""
        self._stopped = True
        async with self._news:
            self._news.notify_all()

    async def _wait(self, after: int) -> bool:
        """Wait until there is something after `after`; False when it takes too long."""
        try:
            async with asyncio.timeout(self._keep_alive_s), self._news:
                await self._news.wait_for(lambda: self._stopped or self._head > after)
        except TimeoutError:
            return False
        return True

    async def _watch(self) -> None:
        while True:
            try:
                head = await self.newest()
            except UnavailableError:
                head = self._head
            if head > self._head:
                async with self._news:
                    self._head = head
                    self._news.notify_all()
            await asyncio.sleep(self._poll_s)


def as_event(entry: LedgerEntry) -> bytes:
    """Return an entry as a server-sent event: its number, its kind, and all of it as JSON."""
    body = clean(asdict(entry) | {"at": entry.at.isoformat().replace("+00:00", "Z")})
    data = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
    return f"id: {entry.id}\nevent: {entry.kind}\ndata: {data}\n\n".encode()
