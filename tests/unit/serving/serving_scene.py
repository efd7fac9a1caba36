"""One worker's serving state on the test's own event loop, with real models and sessions."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from config.settings import ServingSettings
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile, ShadowScore
from serving.batches import Outputs
from serving.keeping import Keeping
from serving.knobs import SessionOptions
from serving.loaded import LoadedModel
from serving.loader import Loader
from serving.memory import MemoryFiles
from serving.plans import Arm, Wanted
from serving.recording import Recordings
from serving.request_ids import RequestIdSigner
from serving.scoring import Scorer
from serving.shadow import Shadow
from serving.state import ServingState, Update, VersionKey
from serving.tensors import Feeds
from tests.services.predictor import FEATURES, write_classifier

MODEL = "digits"
Knobs = Mapping[str, dict[str, float]]


class Memory:
    """A machine's memory as files, so that it can be short."""

    def __init__(self, folder: Path) -> None:
        (folder / "proc" / "self").mkdir(parents=True)
        self.files = MemoryFiles(folder / "proc", folder / "cgroup")
        self.free(100_000)

    def free(self, megabytes: int) -> None:
        (self.files.proc / "meminfo").write_text(f"MemAvailable: {megabytes * 1024} kB\n")


class Scene:
    """A state that is published to by hand, and asked as the data path asks it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.settings = ServingSettings.model_validate(settings)
        self.pool = ThreadPoolExecutor(4)
        self.memory = Memory(folder / "memory")
        self.loader = Loader(folder / "load.lock", self.memory.files)
        self.load_thread = ThreadPoolExecutor(1)
        self.keeping = Keeping(self.loader, self.load_thread)
        self.traffic = folder / "traffic"
        entries = self.settings.traffic_entries
        self.recordings = Recordings(self.traffic, "worker-1", entries, self.pool)
        self.state = ServingState(self.settings, self.pool, self.keeping, self.recordings)
        self.scores: list[ShadowScore] = []
        shadow = Shadow(self.pool, self.state.totals, self.scores.append)
        signer = RequestIdSigner(b"k" * 32)
        self.scorer = Scorer(self.state, signer, shadow, random.Random(1))
        self.files: dict[VersionKey, ModelFile] = {}

    def publish(self, want: Wanted, knobs: Knobs | None = None) -> None:
        """Do what a poll of the watcher does."""
        warm = {}
        for version in (want.champion, want.challenger):
            key = (MODEL, version or 0)
            if version is not None and key not in self.files:
                self.files[key] = self._file(version)
                warm[key] = self.loader.load(self.files[key], SessionOptions())
        self.state.publish(Update({MODEL: want}, warm, knobs or {}, {}, {}))

    def _file(self, version: int) -> ModelFile:
        path = write_classifier(self.folder / f"{version}.onnx", version)
        return ModelFile(MODEL, version, path, sha256(path), inspect(path))

    async def ask(self, key: bytes = b"") -> tuple[Arm, str, Outputs]:
        """Answer one request."""
        plan = self.scorer.plan(MODEL)
        feeds: Feeds = {"X": np.zeros((1, FEATURES), np.float32)}
        return await self.scorer.score(plan, key, feeds, 1, time.perf_counter())

    async def all_loads(self) -> int:
        """How many sessions were made once all is done that was asked for until now."""
        await asyncio.get_running_loop().run_in_executor(self.load_thread, int)
        return self.keeping.loads

    def loaded(self, place: int = 0) -> LoadedModel:
        return self.state.plans[MODEL].arms[place].loaded


async def until(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Let the event loop go on until something holds."""
    by = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < by, f"waited in vain for {what}"
        await asyncio.sleep(0.005)
