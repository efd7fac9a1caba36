"""Load on the servers of the serving benchmark, and champions moved under it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass

import httpx

from benchmarks import serving_field as fields
from benchmarks.closed_loop import LoopResult, TargetResult
from benchmarks.serving_models import FEATURES

_GIVE_UP_S = 15.0
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """A server asked for one model."""

    server: fields.Server
    model: str


@dataclass(frozen=True, slots=True)
class Turns:
    """How the targets of a load take turns: so many rounds, each with a slice for each of them."""

    connections: int
    rounds: int
    slice_s: float


class Client:
    """Runs the load client as a process of its own and remembers how busy it was."""

    def __init__(self, body: str) -> None:
        self._body = body
        self.busiest = 0.0

    def run(
        self, targets: dict[str, Target], turns: Turns, *, watch_versions: bool = False
    ) -> dict[str, TargetResult]:
        """Put load on the targets, in turns.

        Raises:
            RuntimeError: the client itself failed.
        """
        places = {
            name: {"port": one.server.port, "path": one.server.path(one.model)}
            for name, one in targets.items()
        }
        orders = {
            **asdict(turns),
            "targets": places,
            "body": self._body,
            "cores": fields.cores()[1],
            "watch_versions": watch_versions,
        }
        command = [sys.executable, "-m", "benchmarks.closed_loop"]
        done = subprocess.run(
            command, input=json.dumps(orders), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"the load client failed: {done.stderr[-1000:]}")
        result = LoopResult.from_json(done.stdout)
        self.busiest = max(self.busiest, result.client_cpu_share)
        return result.targets

    def rates(self, targets: dict[str, Target], turns: Turns) -> dict[str, list[float]]:
        """Return the answers per second of each target by round.

        Raises:
            RuntimeError: a target answered with something else than 200.
        """
        results = self.run(targets, turns)
        for name, result in results.items():
            if result.failures:
                raise RuntimeError(f"{name} failed requests: {result.failures}")
        return {name: result.rates for name, result in results.items()}


_SWAP_LOAD = Turns(connections=8, rounds=4, slice_s=0.5)


@dataclass(frozen=True, slots=True)
class Swaps:
    """What became of the requests while the champion was moved again and again.

    The seconds are from the registry's answer to the first answer of the predictor by the new
    version; `p99_s` is the largest where there are fewer than a hundred.
    """

    swaps: int
    requests: int
    lost: int
    failures: dict[str, int]
    versions: dict[str, int]
    median_s: float
    p99_s: float
    held: bool


def swap_under_load(client: Client, target: Target, uri: str, count: int) -> Swaps:
    """Move the champion `count` times under load; each move has to be served before the next."""
    done = threading.Event()
    results: list[TargetResult] = []

    def load() -> None:
        while not done.is_set():
            loaded = client.run({"ours": target}, _SWAP_LOAD, watch_versions=True)
            results.append(loaded["ours"])

    thread = threading.Thread(target=load)
    thread.start()
    try:
        seconds = _swap(target, uri, count)
    finally:
        done.set()
        thread.join()
    failures, versions = Counter[str](), Counter[str]()
    for result in results:
        failures.update(result.failures)
        versions.update(result.versions)
    lost = failures.total()
    return Swaps(
        swaps=len(seconds),
        requests=sum(result.requests for result in results),
        lost=lost,
        failures=dict(failures),
        versions=dict(versions),
        median_s=statistics.median(seconds),
        p99_s=sorted(seconds)[min(len(seconds) - 1, int(0.99 * len(seconds)))],
        held=lost == 0 and len(seconds) == count,
    )


def _swap(target: Target, uri: str, count: int) -> list[float]:
    """Return the seconds of each move, up to the first that was not served in time."""
    url = f"http://127.0.0.1:{target.server.port}{target.server.path(target.model)}"
    content = json.dumps({"inputs": [[0.0] * FEATURES]})
    seconds: list[float] = []
    with httpx.Client(base_url=uri, timeout=10.0) as registry, httpx.Client(timeout=10.0) as ours:
        for turn in range(count):
            version = 2 - turn % 2
            fields.set_champion(registry, target.model, version)
            began = time.perf_counter()
            while ours.post(url, content=content).json()["version"] != version:
                if time.perf_counter() - began > _GIVE_UP_S:
                    return seconds or [_GIVE_UP_S]
                time.sleep(_LOOK_S)
            seconds.append(time.perf_counter() - began)
    return seconds
