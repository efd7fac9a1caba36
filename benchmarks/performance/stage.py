"""The stage of the parts that need a real predictor: a registry, a predictor, and the agent's hand.

The agent is asked as a person would: `prime-spark tune now TYPE`, in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import serving_field as fields
from config.clock import SystemClock
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger

_TUNE_S = 900.0


@dataclass(slots=True)
class Stage:
    """A predictor with its registry, and what is set for both.

    Attributes:
        environment: the variables under which predictor and agent run.
    """

    folder: Path
    servers: fields.Field
    uri: str
    predictor: fields.Predictor
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the predictor answers."""
        return f"http://127.0.0.1:{self.predictor.server.port}"

    def url_of(self, model: str) -> str:
        """Where a model answers."""
        return f"{self.url}/predict/{model}"

    def tune(self, kind: str, *, looks: int, every_s: float, **settings: object) -> dict[str, Any]:
        """Let the agent tune once; return what `prime-spark tune now --json` says.

        Raises:
            RuntimeError: the command itself failed.
        """
        return tune_now(
            kind, self.environment | _variables(settings), self.folder, looks=looks, every_s=every_s
        )

    def knobs(self) -> dict[str, dict[str, float]]:
        """All knobs as they are written now."""
        with self._store() as store:
            return store.read_all()

    def turn(self, scope: str, values: Mapping[str, float | None]) -> None:
        """Write knobs of a scope, as a person would; None takes one away."""
        with self._store() as store:
            expected = {name: store.read(scope).get(name) for name in values}
            store.write_many(scope, expected, values, by="benchmarks", reason="a benchmark's turn")

    def workers(self) -> list[psutil.Process]:
        """The predictor's workers: the processes of its tree that answer requests."""
        tree = psutil.Process(self.predictor.server.process.pid).children(recursive=True)
        return [one for one in tree if any("worker" in part for part in _command(one))]

    def cpu_seconds(self) -> float:
        """Processor seconds that the predictor's processes have used."""
        root = psutil.Process(self.predictor.server.process.pid)
        times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))

    @contextmanager
    def _store(self) -> Iterator[KnobStore]:
        engine = open_ledger(f"sqlite:///{self.predictor.home / 'ledger.db'}")
        try:
            yield KnobStore(engine, SystemClock())
        finally:
            engine.dispose()


@contextmanager
def open_stage(
    models: Mapping[str, Path], settings: Mapping[str, object], *, pinned: bool = False
) -> Iterator[Stage]:
    """Start a registry and a predictor that serves these model files; end both afterwards."""
    with tempfile.TemporaryDirectory(prefix="prime-spark-stage-") as name:
        folder = Path(name)
        with fields.open_field(folder) as servers:
            uri = fields.start_registry(servers)
            for model, path in models.items():
                fields.register(uri, model, [path])
            predictor = fields.start_predictor(
                servers, "predictor", uri, list(models), pinned=pinned, **settings
            )
            values = {
                "HOME": predictor.home,
                "MLFLOW__TRACKING_URI": uri,
                "SERVING__PORT": predictor.server.port,
            }
            environment = _variables(values | dict(settings))
            yield Stage(folder, servers, uri, predictor, environment)


def tune_now(
    kind: str, environment: Mapping[str, str], folder: Path, *, looks: int, every_s: float
) -> dict[str, Any]:
    """Let the agent tune once; return what `prime-spark tune now --json` says.

    Args:
        kind: the action type.
        environment: variables besides those of this process.
        folder: working directory of the command.
        looks: how often it looks before deciding.
        every_s: seconds between two looks.

    Raises:
        RuntimeError: the command itself failed.
    """
    command = [
        *(sys.executable, "-P", "-m", "flows.cli", "tune", "now", kind, "--json"),
        *("--looks", str(looks), "--every", str(every_s)),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TUNE_S,
        check=False,
    )
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"tune now {kind} ended with {done.returncode}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def said(answer: Mapping[str, object]) -> object:
    """What became of the actions, or why there was none, of an answer of `tune now`."""
    actions = answer["actions"]
    assert isinstance(actions, list)
    told = [f"{one['state']}: {one['reason']}" for one in actions]
    return told or answer["left_out"] or "nothing called for it"


def core_share(stage: Stage, seconds: float) -> float:
    """The share of one core that the predictor uses over some seconds."""
    used, began = stage.cpu_seconds(), time.perf_counter()
    time.sleep(seconds)
    return (stage.cpu_seconds() - used) / (time.perf_counter() - began)


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"PRIME_SPARK_{name}": str(value) for name, value in settings.items()}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
