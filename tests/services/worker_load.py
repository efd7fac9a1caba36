"""A predictor without a registry that serves one small model, and clients that keep connections."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from benchmarks.arrivals import constant
from benchmarks.http_target import HttpTarget, row_bodies
from benchmarks.load import LoadResult, open_loop
from config.clock import SystemClock
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile
from registry.workers import WorkerNote, read_note
from serving import last_good
from serving.last_good import LastGood
from tests.services.predictor import FEATURES, RunningPredictor, running_predictor, write_classifier
from tests.services.processes import free_port, wait_until

MODEL = "small"
_PART_S = 2.0


@dataclass(slots=True)
class Crew:
    """A predictor whose number of workers is turned."""

    predictor: RunningPredictor
    home: Path
    ledger: Engine

    @property
    def store(self) -> KnobStore:
        return KnobStore(self.ledger, SystemClock())

    @property
    def note(self) -> WorkerNote:
        return read_note(self.home / "run") or WorkerNote(0, 0)

    def want(self, number: int | None) -> None:
        """Turn the knob as a person would; None takes it away."""
        before = self.store.read("serving").get("workers")
        self.store.write("serving", "workers", before, number, "a person", "a test")

    def await_running(self, number: int, timeout_s: float = 60.0) -> None:
        """Wait until so many workers take requests, and no other lives."""

        def there() -> bool:
            note = self.note
            return len(note.running) == number and not note.draining

        wait_until(there, timeout_s, f"{number} workers to run")

    def kill_worker(self) -> int:
        """Kill one with SIGKILL and return its process id."""
        pid = self.note.running[0]
        os.kill(pid, signal.SIGKILL)
        return pid


@contextmanager
def crew(home: Path, workers: int = 1, **settings: float) -> Iterator[Crew]:
    """Run one until the block ends, with a model that was served before."""
    home.mkdir(parents=True, exist_ok=True)
    path = write_classifier(home / "model.onnx", 1)
    file = ModelFile(MODEL, 1, path, sha256(path), inspect(path))
    (home / "run").mkdir(exist_ok=True)
    state = LastGood({MODEL: 1}, {}, {}, {(MODEL, 1): file})
    last_good.save(home / "run" / "serving-last-good.json", state)
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    named: dict[str, Any] = dict(settings)
    nowhere = f"http://127.0.0.1:{free_port()}"
    with running_predictor(home, nowhere, SERVING__WORKERS=workers, **named) as predictor:
        found = Crew(predictor, home, ledger)
        found.await_running(workers)
        yield found
    ledger.dispose()


async def steady_load(
    url: str, *, clients: int, rate: float, meanwhile: Callable[[], None]
) -> list[LoadResult]:
    """Send at a fixed rate from clients that each keep their connections open.

    `meanwhile` runs in a thread beside the load, which goes on, two seconds at a time, until it has
    ended; when it fails, so does this.
    """
    bodies = row_bodies(np.zeros((1, FEATURES)).tolist())
    async with AsyncExitStack() as stack:
        targets = [
            await stack.enter_async_context(
                HttpTarget(f"{url}/predict/{MODEL}", lambda _: bodies[0], timeout_s=20.0)
            )
            for _ in range(clients)
        ]
        aside = asyncio.create_task(asyncio.to_thread(meanwhile))
        results = []
        while not aside.done():
            results.append(
                await open_loop(
                    lambda index: targets[index % clients](index), constant(rate, _PART_S)
                )
            )
        await aside
        return results
