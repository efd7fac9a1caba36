"""A predictor that says what it serves, over real HTTP, following a registry's champions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import unquote

from config.errors import UnknownModel


class Aliases(Protocol):
    """A registry to follow."""

    def aliases(self, model: str) -> dict[str, int]: ...


@dataclass(slots=True)
class SmallPredictor:
    """Serves each model's champion, unless `stuck` names the version it stays with."""

    registry: Aliases
    url: str = ""
    stuck: dict[str, int] = field(default_factory=dict)

    def versions(self, model: str) -> list[str] | None:
        if model in self.stuck:
            return [str(self.stuck[model])]
        try:
            champion = self.registry.aliases(model).get("champion")
        except UnknownModel:
            return None
        return None if champion is None else [str(champion)]


@contextmanager
def small_predictor(registry: Aliases) -> Iterator[SmallPredictor]:
    """Run one on a free port until the block ends."""
    predictor = SmallPredictor(registry)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            versions = predictor.versions(unquote(self.path.rsplit("/", 1)[-1]))
            self.send_response(404 if versions is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"versions": versions}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    predictor.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield predictor
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
