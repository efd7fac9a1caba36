"""``python -m benchmarks.agent``: what the resident agent costs while nothing is to be done.

It starts `prime-spark up` in a home of its own, with the agent on all its targets, and watches the
agent's process: share of one core, memory of its own (unique set), growth of the ledger, bytes on
the network. With `--metrics 500` a Prometheus server of that many metrics is added.

Network: the bytes on the loopback interface while the agent runs, less those while it is stopped
for a minute. Where the system allows it everything runs in a network namespace of its own, so that
nobody else's traffic counts.

Flow runs: the processor time of the worker's runs that ended meanwhile, `optimize` and the look for
new versions, both by their schedules. Not judged: they come and go with Prefect, each a process.

Ledger: pages in use at the end, less those after the warm-up, per day; old single values are packed
and joined later, so this is more than a day keeps.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import shutil
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import psutil

from benchmarks.running_up import running_up

DAY_S = 86_400.0
CPU_LIMIT = 0.01
MEMORY_LIMIT_MB = 110.0
DISK_LIMIT_MB = 10.0
NETWORK_LIMIT_BITS = 1e6

_ALONE = "AGENT_BENCHMARK_IN_OWN_NETWORK"
# Of Linux's <net/if.h> and <linux/sockios.h>: bring an interface up.
_UP, _SET_FLAGS = 0x1 | 0x40, 0x8914

# Series of one query; more than 200 are not taken.
_A_QUERY = 100

_STOPPED_S = 60.0
_SAMPLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What the agent cost.

    Attributes:
        seconds: how long it was watched.
        metrics: metrics of the added Prometheus server.
        cpu_share: of one core.
        flow_runs_cpu_share: of one core, for scheduled flow runs; no part of the above.
        memory_mb: greatest unique set size.
        disk_mb_a_day: growth of the ledger's pages in use.
        log_mb_a_day: growth of the agent's log.
        network_bytes_a_second: both directions.
        series: metrics with their labels that are recorded.
        load: mean load of the machine; much above its cores, the shares are those of a busy one.
    """

    seconds: float
    metrics: int
    cpu_share: float
    flow_runs_cpu_share: float
    memory_mb: float
    disk_mb_a_day: float
    log_mb_a_day: float
    network_bytes_a_second: float
    series: int
    load: float

    @property
    def within(self) -> bool:
        """Whether everything is within what is wanted."""
        return (
            self.cpu_share < CPU_LIMIT
            and self.memory_mb <= MEMORY_LIMIT_MB
            and self.disk_mb_a_day + self.log_mb_a_day <= DISK_LIMIT_MB
            and self.network_bytes_a_second * 8 < NETWORK_LIMIT_BITS
        )


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return 0 if everything is within what is wanted, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to watch")
    parser.add_argument("--warm-up", type=float, default=60.0, help="before watching, seconds")
    parser.add_argument("--metrics", type=int, default=0, help="metrics of a Prometheus server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    alone = _in_own_network(sys.argv[1:] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="prime-spark-agent-") as folder:
        cost = measure(Path(folder), options.seconds, options.warm_up, options.metrics)
    if options.json:
        told = {"within": cost.within, "own_network": alone}
        print(json.dumps(asdict(cost) | told, indent=2))
    else:
        print(_text(cost))
    return 0 if cost.within else 1


def _in_own_network(arguments: list[str]) -> bool:
    """Begin anew in a network namespace of our own; return whether this process is in one."""
    if os.environ.get(_ALONE) == "1":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16sh14x", b"lo", _UP)
            fcntl.ioctl(any_socket, _SET_FLAGS, request)
        return True
    command = ["unshare", "--net", "--map-root-user"]
    known = shutil.which("unshare") is not None
    if known and subprocess.run([*command, "true"], check=False).returncode == 0:
        os.environ[_ALONE] = "1"
        module = [sys.executable, "-m", "benchmarks.agent", *arguments]
        os.execvp(command[0], [*command, *module])  # noqa: S606 - no shell reads it
    return False


def measure(folder: Path, seconds: float, warm_up_s: float, metrics: int) -> Cost:
    """Start everything in `folder`, watch the agent, and end everything."""
    home = folder / "home"
    with many_metrics(metrics) as url:
        config = folder / "settings.yaml"
        config.write_text(_settings(url, metrics), encoding="utf-8")
        variables = {"PRIME_SPARK_HOME": str(home), "PRIME_SPARK_CONFIG": str(config)}
        with running_up(folder, variables) as up:
            time.sleep(warm_up_s)
            processes = _process_of(up, "flows.agent"), _process_of(up, "worker")
            return _watched(*processes, home, seconds, metrics)


@contextmanager
def many_metrics(count: int) -> Iterator[str | None]:
    """A server that has `count` series of changing values, a part for each query; None for none."""
    if not count:
        yield None
        return

    class Handler(_Prometheus):
        series = min(count, _A_QUERY)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Prometheus(BaseHTTPRequestHandler):
    """Answers every instant query with the same number of series."""

    series: ClassVar[int] = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a query."""
        now = time.time_ns()
        result = [
            {
                "metric": {"instance": f"host-{number}"},
                "value": [now / 1e9, f"{(now // 10**9 * (number + 7)) % 1009 / 10:.3f}"],
            }
            for number in range(self.series)
        ]
        body = {"status": "success", "data": {"resultType": "vector", "result": result}}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def _settings(url: str | None, metrics: int) -> str:
    if url is None:
        return "agent:\n  lease_seconds: 30\n"
    queries = "".join(f"      metrics_{n}: up\n" for n in range(math.ceil(metrics / _A_QUERY)))
    return f"prometheus:\n  - name: many\n    url: {url}\n    queries:\n{queries}"


def _process_of(up: subprocess.Popen[bytes], word: str) -> psutil.Process:
    """The first process that was started with this word, such as the agent's."""
    for child in psutil.Process(up.pid).children(recursive=True):
        if word in child.cmdline():
            return child
    raise SystemExit(f"nothing to measure: {word} does not run")


def _watched(
    agent: psutil.Process, worker: psutil.Process, home: Path, seconds: float, metrics: int
) -> Cost:
    ledger, log = home / "ledger.db", home / "logs" / "agent.log"
    begun, cpu, runs = time.monotonic(), _cpu_s(agent), _ended_children_s(worker)
    pages, logged, network = _pages_bytes(ledger), log.stat().st_size, _loopback_bytes()
    memory, loads = [], []
    while time.monotonic() - begun < seconds:
        time.sleep(_SAMPLE_S)
        memory.append(agent.memory_full_info().uss)
        loads.append(os.getloadavg()[0])
    took = time.monotonic() - begun
    used, runs_used = _cpu_s(agent) - cpu, _ended_children_s(worker) - runs
    growth, growth_of_log = _pages_bytes(ledger) - pages, log.stat().st_size - logged
    with_agent = (_loopback_bytes() - network) / took
    return Cost(
        seconds=took,
        metrics=metrics,
        cpu_share=used / took,
        flow_runs_cpu_share=runs_used / took,
        memory_mb=max(memory) / 1e6,
        disk_mb_a_day=growth / took * DAY_S / 1e6,
        log_mb_a_day=growth_of_log / took * DAY_S / 1e6,
        network_bytes_a_second=max(0.0, with_agent - _without(agent)),
        series=_observed_series(ledger),
        load=statistics.fmean(loads),
    )


def _without(agent: psutil.Process) -> float:
    """Bytes per second on the loopback interface while the agent stands still."""
    agent.suspend()
    try:
        before = _loopback_bytes()
        time.sleep(_STOPPED_S)
        return (_loopback_bytes() - before) / _STOPPED_S
    finally:
        agent.resume()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _ended_children_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _loopback_bytes() -> int:
    # On this interface whatever is sent is received as well: one direction counts it all.
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


def _pages_bytes(ledger: Path) -> int:
    """Bytes of the pages in use, those still in the write-ahead log included."""
    with _reading(ledger) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _observed_series(ledger: Path) -> int:
    with _reading(ledger) as connection:
        (count,) = connection.execute("SELECT count(*) FROM series").fetchone()
    return int(count)


@contextmanager
def _reading(ledger: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=10.0)
    try:
        yield connection
    finally:
        connection.close()


def _text(cost: Cost) -> str:
    lines = [
        f"watched for {cost.seconds:.0f} s, {cost.series} series, machine load {cost.load:.1f}",
        f"processor  {cost.cpu_share:8.2%} of one core (wanted: below {CPU_LIMIT:.0%})",
        f"flow runs  {cost.flow_runs_cpu_share:8.2%} of one core, by their schedules",
        f"memory     {cost.memory_mb:8.1f} MB of its own (wanted: at most {MEMORY_LIMIT_MB:g})",
        f"ledger     {cost.disk_mb_a_day:8.2f} MB a day",
        f"log        {cost.log_mb_a_day:8.2f} MB a day (wanted, both: at most {DISK_LIMIT_MB:g})",
        f"network    {cost.network_bytes_a_second * 8 / 1e6:8.3f} Mbit/s (wanted: below 1)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
