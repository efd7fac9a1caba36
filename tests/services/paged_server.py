"""A small HTTP server whose pages a test writes: for what real servers seldom say."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.services.processes import LOOPBACK


@dataclass
class PagedServer:
    """What it answers with, by path with or without its query; without a page, 404."""

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)


@contextmanager
def paged_server(pages: Mapping[str, bytes]) -> Iterator[PagedServer]:
    """Run such a server; its pages may be changed meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            known.asked.append(self.path)
            known.connections.add(self.client_address[1])
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            page = known.pages.get(self.path) or known.pages.get(urlsplit(self.path).path)
            self.send_response(404 if page is None else 200)
            body = page or b""
            self.send_header("Content-Length", str(len(body)))
            for name, value in known.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (the name http.server asks for)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    known = PagedServer(f"http://{LOOPBACK}:{server.server_address[1]}", dict(pages))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
