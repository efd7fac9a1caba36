"""A predictor's JSON API as the target of load, over connections that are kept alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import aiohttp
import orjson

from benchmarks.load import RequestFailed

JSON_HEADERS = {"Content-Type": "application/json"}


class HttpTarget:
    """Posts JSON bodies to one URL; an async context manager, as it holds the connections.

    Connections are not limited here: a request that waits for a free connection inside the client
    would look like a slow server. Bound the load with :class:`benchmarks.load.Limits` instead.
    """

    def __init__(self, url: str, body: Callable[[int], bytes], *, timeout_s: float = 10.0) -> None:
        """Prepare to post.

        Args:
            url: the full address, for example ``http://127.0.0.1:3000/predict/digits``.
            body: the JSON body of request ``i``.
            timeout_s: seconds until an answer counts as ``timeout``.
        """
        self._url = url
        self._body = body
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=self._timeout
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, index: int) -> dict[str, Any]:
        """Send request ``index`` and return the answer's JSON object.

        Raises:
            RequestFailed: refused, timed out, an HTTP status of 400 or more, or not JSON.
        """
        return await self.post(self._url, self._body(index))

    async def post(self, url: str, body: bytes) -> dict[str, Any]:
        """Post to any address over the same connections, for example feedback."""
        if self._session is None:
            raise RuntimeError("HttpTarget is used outside of its 'async with' block")
        try:
            async with self._session.post(url, data=body, headers=JSON_HEADERS) as response:
                content = await response.read()
        except TimeoutError as error:
            raise RequestFailed("timeout") from error
        except aiohttp.ClientConnectorError as error:
            raise RequestFailed("connection refused") from error
        except aiohttp.ClientError as error:
            raise RequestFailed("connection lost") from error
        if response.status >= 400:
            raise RequestFailed(f"http {response.status}")
        return _object(content)


def _object(content: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RequestFailed("not JSON") from error
    if not isinstance(answer, dict):
        raise RequestFailed("not a JSON object")
    return answer


def row_bodies(rows: list[list[float]], keys: Callable[[int], str] | None = None) -> list[bytes]:
    """One body a row, ``{"inputs": [row], "key": …}``, encoded once instead of per request."""
    return [
        orjson.dumps(
            {"inputs": [row]} if keys is None else {"inputs": [row], "key": keys(index)},
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        for index, row in enumerate(rows)
    ]
