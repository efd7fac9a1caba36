"""The BentoML service: server, worker supervisor, packager and health checks.

Start it (settings from `PRIME_SPARK_CONFIG` and `PRIME_SPARK_…` variables, see `config/agent.yaml`;
the command runs in the directory that holds the packages):

    PRIME_SPARK_HOME=/path/to/home \
    PRIME_SPARK_MLFLOW__TRACKING_URI=http://127.0.0.1:5000 \
    PRIME_SPARK_SERVING__PORT=3000 \
    bentoml serve serving.service:Predictor --timeout-keep-alive 75

BentoML's own request path (typed APIs, tracing, access log, request metrics, timeouts) costs
several times a light model's run. Requests for Prime Spark's routes therefore go straight from the
server to the data path (`serving.app`); BentoML answers `/livez`,
`/healthz`, `/readyz` and its own pages.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import bentoml
from _bentoml_sdk.service import Service  # type: ignore[import-untyped]

from config.clock import SystemClock
from config.ids import SystemIds
from config.loader import load_settings
from config.redaction import RedactionFilter
from serving.drain import closing
from serving.replies import ASGIApp, Receive, Scope, Send, later, reply_refusal

_SETTINGS = load_settings()
_SERVING = _SETTINGS.serving
_LOOPBACK = {"localhost": "127.0.0.1"}
_BENTO_PATHS = frozenset({"/", "/livez", "/healthz", "/readyz", "/docs.json", "/schema.json"})
_BENTO_FOLDER = "/static_content/"


class _Running:
    """The data path of this process, from the end of its start to the begin of its stop."""

    __slots__ = ("app", "draining")

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.draining = False

    def drain(self) -> None:
        """From now on, close each connection with its answer."""
        self.draining = True
        if self.app is not None:
            self.app = closing(self.app)


class _Door:
    """Hands each request to the data path or to BentoML."""

    __slots__ = ("_bento", "_running")

    def __init__(self, bento: ASGIApp, running: _Running) -> None:
        self._bento = bento
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's event."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path not in _BENTO_PATHS and not path.startswith(_BENTO_FOLDER):
                app = self._running.app
                if app is not None:
                    await app(scope, receive, send)
                    return
                await reply_refusal(send, later("the predictor is starting", 1.0))
                return
            if self._running.draining:
                await closing(self._bento)(scope, receive, send)
                return
        await self._bento(scope, receive, send)


_RUNNING = _Running()


class PredictorService(Service[Any]):  # type: ignore[misc]
    """A service whose ASGI application has the data path in front of BentoML's own."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the application a worker serves."""
        return _Door(super().to_asgi(is_main), _RUNNING)


def _http() -> dict[str, str | int]:
    """Return where to listen; without a port in the settings, BentoML's default (3000) holds."""
    host = _LOOPBACK.get(_SERVING.host, _SERVING.host)
    return {"host": host, **({"port": _SERVING.port} if _SERVING.port else {})}


def _log_to_stdout() -> None:
    """Show the predictor's own log beside BentoML's, with secrets masked."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] [predictor] %(message)s"))
    handler.addFilter(RedactionFilter())
    log = logging.getLogger("prime_spark")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    # With a handler in reach, the server prepares an access-log line for every request, though the
    # level then drops it.
    logging.getLogger("uvicorn.access").propagate = False


@bentoml.service(
    name="predictor",
    service_class=PredictorService,
    workers=_SERVING.workers,
    http=_http(),
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    monitoring={"enabled": False},
)
class Predictor:
    """Serves the champion of every registered model, and its challenger while one is on trial."""

    def __init__(self) -> None:
        # Here and not above: the supervising process imports this module too, and needs none of it.
        from serving.runtime import Runtime  # noqa: PLC0415

        _log_to_stdout()
        clock = SystemClock()
        self._runtime = Runtime(_SETTINGS, clock, SystemIds(clock))

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def supervise() -> None:
        """In the process that supervises the workers: follow the wanted number of them."""
        # Here and not above: the workers import this module too, and do not need it.
        from serving.workers import scaler  # noqa: PLC0415

        _log_to_stdout()
        scaler(_SETTINGS, SystemClock(), len(os.sched_getaffinity(0))).start()

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Begin to serve, on the event loop that answers requests."""
        await self._runtime.start()
        _RUNNING.app = self._runtime.app
        self._runtime.drain(_RUNNING.drain).listen()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Write the last counts; requests under way are answered already."""
        await self._runtime.stop()

    def __is_ready__(self) -> bool:
        """Tell /readyz whether the registry, or what was served last, has been read."""
        return self._runtime.state.ready
