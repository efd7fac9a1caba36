"""A real Prometheus server that scrapes the page a test writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.services.processes import LOOPBACK, free_port, needed, started

_SETTINGS = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ["{address}"]}}]
"""


@contextmanager
def prometheus_server(folder: Path, scraped: str) -> Iterator[str]:
    """Run a server that scrapes `/metrics` of the address `scraped`; gives its own address."""
    program = needed("prometheus")
    settings = folder / "prometheus.yml"
    settings.write_text(_SETTINGS.format(address=urlsplit(scraped).netloc), encoding="utf-8")
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = [program, f"--config.file={settings}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address={LOOPBACK}:{port}", "--log.level=warn"]

    def ready() -> bool:
        return httpx.get(f"{url}/-/ready", timeout=2.0).is_success

    with started(command, ready=ready, log=folder / "prometheus.out"):
        yield url
