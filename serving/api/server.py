"""Runs the API: `python -m serving.api`, with the settings of the environment.

It listens, writes where to `<home>/run/api.json`, and stays up whether an agent runs or not.
SIGTERM and SIGINT end it within seconds: streams are closed, requests under way are answered.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from config.clock import SystemClock
from config.errors import ConfigError, PrimeSparkError
from config.loader import load_settings
from config.paths import Home
from config.redaction import RedactionFilter, redact
from config.settings import ApiSettings, Settings
from registry.ledger.database import open_ledger
from serving.api.app import create_app
from serving.api.connections import GuardedHttp
from serving.api.feed import Feed
from serving.api.gate import refuse_exposure

_STOP_S = 3
_BACKLOG = 512
_log = logging.getLogger("prime_spark.api")


def main() -> None:
    """Serve until told to stop; a wrong setting ends it with one sentence and exit code 2."""
    try:
        serve(_located(load_settings(), os.environ))
    except KeyboardInterrupt:  # uvicorn has ended in good order before it passes this on
        sys.exit(130)
    except ConfigError as error:
        sys.stderr.write(f"prime-spark api: {redact(str(error))}\n")
        sys.exit(2)
    except PrimeSparkError as error:
        sys.stderr.write(f"prime-spark api: {redact(str(error))}\n")
        sys.exit(4)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the address is taken, is open to others without TLS, or the home directory
            cannot be used.
        LedgerUnavailable: the ledger does not answer.
    """
    refuse_exposure(settings.api)
    home = settings.home_dir.create()
    _log_to_stderr()
    engine = open_ledger(settings.ledger_url)
    try:
        app = create_app(engine, settings, SystemClock())
        with _listening(settings.api) as listener:
            _Server(_configured(app, settings.api), home, app.state.desk.feed).run([listener])
    finally:
        engine.dispose()


def _located(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Fill in the MLflow server that MLflow's own variable names, where the settings name none."""
    uri = settings.mlflow.tracking_uri or environ.get("MLFLOW_TRACKING_URI")
    mlflow = settings.mlflow.model_copy(update={"tracking_uri": uri})
    return settings.model_copy(update={"mlflow": mlflow})


class _Server(uvicorn.Server):
    """Tells where it listens, and ends the streams before it waits for requests under way."""

    def __init__(self, config: uvicorn.Config, home: Home, feed: Feed) -> None:
        super().__init__(config)
        self._home = home
        self._feed = feed

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            _tell(self._home, _url(self.config, sockets[0]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _forget(self._home)
        await self._feed.stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        _log.info("stopping")
        super().handle_exit(sig, frame)


def _configured(app: FastAPI, settings: ApiSettings) -> uvicorn.Config:
    certificate, key = settings.tls_certificate, settings.tls_key
    return uvicorn.Config(
        app,
        http=GuardedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Forwarded addresses would let a client choose whose rate it uses up.
        proxy_headers=False,
        # Longer than clients keep idle connections, or a request could meet a closing one.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_STOP_S,
        ssl_certfile=str(certificate.expanduser()) if certificate else None,
        ssl_keyfile=str(key.expanduser()) if key else None,
    )


def _listening(settings: ApiSettings) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); set api.host "
            "and api.port to a free address of this machine, or api.port: 0"
        ) from error
    listener.set_inheritable(True)
    return listener


def _url(config: uvicorn.Config, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    # An address for all is none to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if config.is_ssl else 'http'}://{name}:{port}"


def _tell(home: Home, url: str) -> None:
    path = home.api_file
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
    draft.chmod(0o600)
    draft.replace(path)
    _log.info("the agent's API answers on %s", url)


def _forget(home: Home) -> None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(home.api_file.read_text(encoding="utf-8"))["pid"] == os.getpid():
            home.api_file.unlink()


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [api] %(message)s"))
    handler.addFilter(RedactionFilter())
    for name, level in (("prime_spark", logging.INFO), ("uvicorn", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.setLevel(level)
        log.propagate = False
