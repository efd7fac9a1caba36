"""The Prefect server: whether it answers, late and failed flow runs, workers that are online."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote

from pydantic import JsonValue

from config.clock import Clock, from_epoch
from optimizers.targets.base import Observed, ObserveOnly
from optimizers.targets.http_source import HttpSource, PageMissing
from optimizers.targets.readings import Readings

_RECENT = timedelta(hours=1)


def credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The header that PREFECT_API_KEY or PREFECT_API_AUTH_STRING ask for; empty without them."""
    key, basic = environ.get("PREFECT_API_KEY"), environ.get("PREFECT_API_AUTH_STRING")
    if key:
        return {"Authorization": f"Bearer {key}"}
    if basic:
        return {"Authorization": f"Basic {base64.b64encode(basic.encode()).decode()}"}
    return {}


class PrefectTarget(ObserveOnly):
    """One Prefect server.

    Args:
        api_url: the address of its API, ending in `/api`.
        clock: tells how long an answer takes.
        pool: the work pool whose workers are counted.
        headers: sent with every request; see :func:`credentials`.
        name: the target's name.
    """

    def __init__(
        self,
        api_url: str,
        clock: Clock,
        pool: str,
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "prefect",
    ) -> None:
        self.name = name
        self._clock = clock
        self._pool = pool
        self._source = HttpSource("the Prefect server", api_url, clock, headers=headers)

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Count runs and workers; see :class:`optimizers.targets.base.Target`."""
        deadline = self._source.deadline(timeout_s)
        asked = self._clock.monotonic()
        if self._source.get_json("/health", deadline) is not True:
            raise self._source.unusable("it does not say that it is well")
        readings = Readings(self.name, at)
        readings.add("answer_ms", (self._clock.monotonic() - asked) * 1000.0, "ms")
        since = (from_epoch(at) - _RECENT).isoformat()
        questions: dict[str, JsonValue] = {
            "flow_runs_late": {"state": {"name": {"any_": ["Late"]}}},
            "flow_runs_running": {"state": {"type": {"any_": ["RUNNING"]}}},
            "flow_runs_failed_1h": {
                "state": {"type": {"any_": ["FAILED", "CRASHED"]}},
                "end_time": {"after_": since},
            },
        }
        for metric, question in questions.items():
            readings.add(metric, self._count(question, deadline))
        try:
            workers = self._workers(deadline)
        except PageMissing:
            readings.trouble(f"it has no work pool {self._pool}; run `prime-spark deploy`")
            workers = 0.0
        readings.add("workers_online", workers)
        return readings.observed()

    def _count(self, flow_runs: JsonValue, deadline: float) -> float:
        answer = self._source.post_json("/flow_runs/count", deadline, {"flow_runs": flow_runs})
        if isinstance(answer, bool) or not isinstance(answer, int):
            raise self._source.unusable("its count of flow runs is no number")
        return float(answer)

    def _workers(self, deadline: float) -> float:
        path = f"/work_pools/{quote(self._pool, safe='')}/workers/filter"
        answer = self._source.post_json(path, deadline, {})
        if not isinstance(answer, list):
            raise self._source.unusable("its list of workers is none")
        online = [one for one in answer if isinstance(one, dict) and one.get("status") == "ONLINE"]
        return float(len(online))
