"""The world as it is, read with nothing of ours: what a test compares before and after.

Only what stands still while clients are served is read; counts of their requests are left out.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.services.redis_server import RunningRedis

_SYS = Path("/proc/sys/net")
_OF_THE_MACHINE = (
    "ipv4/tcp_rmem",
    "ipv4/tcp_wmem",
    "ipv4/tcp_congestion_control",
    "ipv4/tcp_slow_start_after_idle",
    "ipv4/tcp_max_syn_backlog",
    "core/somaxconn",
    "core/netdev_max_backlog",
)
_COUNTED = ("prime_spark_model_loads_total", "prime_spark_model_unloads_total")


def machine_settings() -> dict[str, str]:
    """The TCP settings of the machine itself."""
    return {name: (_SYS / name).read_text() for name in _OF_THE_MACHINE if (_SYS / name).exists()}


def redis_settings(server: RunningRedis) -> dict[str, object]:
    """All that `CONFIG GET *` shows, and how often `CONFIG SET` was called."""
    with server.client() as client:
        settings: dict[str, object] = dict(client.config_get("*"))
        calls = client.info("commandstats").get("cmdstat_config|set")
    return settings | {"calls of CONFIG SET": calls}


def standing_of(pids: Iterable[int]) -> dict[int, list[object]]:
    """Of each thread of processes: niceness, cores and cgroups."""
    tids = [int(one.name) for pid in pids for one in Path(f"/proc/{pid}/task").iterdir()]
    return {
        tid: [
            os.getpriority(os.PRIO_PROCESS, tid),
            sorted(os.sched_getaffinity(tid)),
            Path(f"/proc/{tid}/cgroup").read_text(),
        ]
        for tid in tids
    }


def family_of(pid: int) -> list[tuple[int, float]]:
    """A process and all that came of it, each with the moment it began."""
    first = psutil.Process(pid)
    return sorted((one.pid, one.create_time()) for one in (first, *first.children(recursive=True)))


def predictor_pages(url: str) -> dict[str, object]:
    """What a predictor serves, with which knobs, and how often each worker loaded a model."""
    models: dict[str, Any] = httpx.get(f"{url}/models", timeout=20).raise_for_status().json()
    arms = {
        f"{name} {arm['version']}": [arm["variant"], arm["knobs"], arm["loaded"]]
        for name, model in models["models"].items()
        for arm in model["arms"]
    }
    metrics = httpx.get(f"{url}/metrics", timeout=20).raise_for_status().text.splitlines()
    loads = sorted(line for line in metrics if line.startswith(_COUNTED))
    return {"arms": arms, "problems": models["problems"], "loads": loads}


def ledger_rows(file: Path, tables: Iterable[str]) -> dict[str, list[tuple[object, ...]]]:
    """All rows of tables of a ledger in SQLite."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
        return {name: ledger.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


def published(mlflow_uri: str) -> dict[str, object]:
    """All versions and aliases that an MLflow server has, and its experiments and runs."""
    api = f"{mlflow_uri}/api/2.0/mlflow"
    with httpx.Client(timeout=20) as client:
        asked = {"max_results": 1000}
        models = client.get(f"{api}/registered-models/search", params=asked)
        versions = client.get(f"{api}/model-versions/search", params=asked)
        experiments = client.post(f"{api}/experiments/search", json=asked).raise_for_status().json()
        ids = [one["experiment_id"] for one in experiments.get("experiments", ())]
        runs = client.post(f"{api}/runs/search", json={**asked, "experiment_ids": ids})
    found = {"models": models, "versions": versions, "runs": runs}
    return {name: one.raise_for_status().json() for name, one in found.items()}
