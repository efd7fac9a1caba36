"""A bad day for the whole agent: it finds, decides, applies and verifies by itself.

`prime-spark up` runs with all its servers and the agent. One model is asked for faster than it can
answer one row at a time, another has far too small a cache for its popular inputs, and large models
that nobody asks for fill the memory. Nobody helps. The table tells what the agent did: predicted,
realised, kept or undone; the figures compare the first minutes with the last ones.

The loops go faster than by default, so that a day fits into minutes. The memory trigger is set
between what the machine uses with and without the idle models, since a benchmark must not fill a
machine's memory.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import psutil

from benchmarks import serving_field as fields
from benchmarks.performance.counters import read_counters
from benchmarks.performance.crowd import Slice, Users, mean_ms, now, send_crowd
from benchmarks.performance.parts import Figure, Part
from benchmarks.running_up import running_up
from benchmarks.serving_models import FEATURES, run_ms, write_model
from config.clock import SystemClock
from registry.agent_actions import ActionStore
from registry.agent_records import Action, ActionState
from registry.ledger.database import open_ledger

BUSY, POPULAR = "busy", "popular"
IDLE = tuple(f"idle-{number}" for number in range(4))
_BUSY_LAYERS, _POPULAR_LAYERS, _IDLE_LAYERS = 24, 2, 64
_SERVERS_MB = 1400.0
"""What `prime-spark up` takes with the other two models."""

_DAY_S, _QUICK_S, _SLICE_S = 1080.0, 240.0, 10.0
_MEGABYTE = 1024.0 * 1024.0
_DISTINCT = 800
_BUSY = 0.6
"""Share of a core that the busy model's runs alone would take; with the rest it is saturated."""

_POPULAR_RPS = 60.0
_IN_DOUBT = frozenset({ActionState.HANDED_OVER, ActionState.FAILED})
_CAPABILITIES = (
    "cpu_optimization,memory_cleanup,batch_inference,cache_resize,resource_reallocation,tcp_tuning"
)


# Cache hits, look-ups, bytes.
_Counts = tuple[float, float, float]


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    seconds = _QUICK_S if quick else _DAY_S
    with tempfile.TemporaryDirectory(prefix="prime-spark-bad-day-") as name:
        folder = Path(name)
        files = _models(folder, seed)
        one_ms = run_ms(files[BUSY])
        with fields.open_field(folder) as servers:
            uri = fields.start_registry(servers)
            for model, path in files.items():
                fields.register(uri, model, [path])
            idle_mb = len(IDLE) * files[IDLE[0]].stat().st_size / _MEGABYTE
            variables = _variables(folder / "home", uri, one_ms, _memory_percent(idle_mb))
            with running_up(folder, variables):
                url = f"http://127.0.0.1:{variables['PRIME_SPARK_SERVING__PORT']}"
                day = _day(url, one_ms, seconds, seed)
            actions = _actions(folder / "home")
    return _part(day, actions)


class _Day:
    """What users and processes saw of it, from its first request on, epoch seconds."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.slices: Mapping[str, Sequence[Slice]] = {}
        self.hit_rates: list[float] = []
        self.memory: list[float] = []

    def note(self, before: _Counts, now: _Counts) -> _Counts:
        """Note a look; return it for the next one. Counters of a new worker begin anew."""
        asked = now[1] - before[1]
        if asked > 0:
            self.hit_rates.append((now[0] - before[0]) / asked)
        self.memory.append(now[2])
        return now

    def at_first(self, model: str) -> float:
        """Mean latency of the first minute, ms."""
        return mean_ms(self.slices[model][1:7])

    def at_last(self, model: str) -> float:
        """Mean latency of the last minute, ms."""
        return mean_ms(self.slices[model][-7:-1])

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(one.failed for each in self.slices.values() for one in each)


def _models(folder: Path, seed: int) -> dict[str, Path]:
    layers = {BUSY: _BUSY_LAYERS, POPULAR: _POPULAR_LAYERS, "idle": _IDLE_LAYERS}
    files = {model: folder / f"{model}.onnx" for model in layers}
    for number, (model, depth) in enumerate(layers.items()):
        write_model(files[model], depth, seed + number)
    idle = files.pop("idle")
    return files | dict.fromkeys(IDLE, idle)


def _memory_percent(idle_mb: float) -> float:
    """How full the machine's memory is halfway between idle models in memory and out of it."""
    memory = psutil.virtual_memory()
    to_come = (_SERVERS_MB + idle_mb / 2.0) * _MEGABYTE
    return float(memory.percent + 100.0 * to_come / memory.total)


def _variables(home: Path, uri: str, one_ms: float, memory_percent: float) -> dict[str, str]:
    settings = {
        "HOME": home,
        "MLFLOW__TRACKING_URI": uri,
        "SERVING__PORT": fields.free_port(),
        "SERVING__MAX_BATCH_SIZE": 1,
        "SERVING__CACHE_ENTRIES": 50,
        "SERVING__QUEUE_LIMIT": 2000,
        "SERVING__LATENCY_OBJECTIVE_MS": f"{10 * one_ms:.2f}",
        "MODELS__NAMES": "none-of-them",
        "MONITORING__INTERVAL_SECONDS": 5,
        "MONITORING__ANALYSIS_INTERVAL_SECONDS": 5,
        "MONITORING__OPTIMIZATION_INTERVAL_SECONDS": 60,
        "MONITORING__EXECUTION_INTERVAL_SECONDS": 2,
        "AGENT__CAPABILITIES": _CAPABILITIES,
        "AGENT__COOLDOWN_SECONDS": 60,
        "AGENT__SETTLE_SECONDS": 4,
        "AGENT__VERIFY_SECONDS": 90,
        "AGENT__VERIFY_SAMPLES": 12,
        "PERFORMANCE__BATCH_INFERENCE__LATENCY_MS": f"{4 * one_ms:.2f}",
        "PERFORMANCE__MEMORY_CLEANUP__MEMORY_PERCENT": f"{memory_percent:.1f}",
        "PERFORMANCE__MEMORY_CLEANUP__IDLE_SECONDS": 60,
    }
    return {f"PRIME_SPARK_{name}": str(value) for name, value in settings.items()}


def _day(url: str, one_ms: float, seconds: float, seed: int) -> _Day:
    """Let the crowd come, and look at cache and memory now and then."""
    users = {
        BUSY: Users(f"{url}/predict/{BUSY}", _BUSY * 1000.0 / one_ms, FEATURES),
        POPULAR: Users(f"{url}/predict/{POPULAR}", _POPULAR_RPS, FEATURES, _DISTINCT, zipf=0.9),
    }
    crowd = send_crowd(users, seconds, slice_s=_SLICE_S, seed=seed)
    crowd.await_begin()
    day = _Day(crowd.begins_at)
    try:
        before = _counts(url)
        while now() < crowd.begins_at + seconds:
            time.sleep(_SLICE_S)
            before = day.note(before, _counts(url))
        day.slices = crowd.result()
    finally:
        crowd.stop()
    return day


def _counts(url: str) -> _Counts:
    """The popular model's cache hits and look-ups so far, and the memory of the workers."""
    page = read_counters(url)
    hits, misses = (
        page.total(f"prime_spark_cache_{name}_total", model=POPULAR) for name in ("hits", "misses")
    )
    return hits, hits + misses, page.total("prime_spark_worker_memory_bytes")


def _actions(home: Path) -> list[Action]:
    engine = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    try:
        return ActionStore(engine, SystemClock()).list(newest_first=False)
    finally:
        engine.dispose()


def _part(day: _Day, actions: Sequence[Action]) -> Part:
    kept = [one for one in actions if one.state is ActionState.COMPLETED]
    doubt = [one for one in actions if one.state in _IN_DOUBT]
    busy, popular = (day.at_last(model) / day.at_first(model) for model in (BUSY, POPULAR))
    first, last = _ends(day.hit_rates)
    most, left = max(day.memory), fmean(day.memory[-3:])
    figures = [
        Figure("kinds of action kept", float(len({one.proposal.type for one in kept})), at_least=3),
        Figure("actions in doubt or failed", float(len(doubt)), at_most=0),
        Figure("latency of the busy model, last to first minute", busy, at_most=0.75),
        Figure("latency of the popular model, last to first minute", popular),
        Figure("cache hit rate in the first minute", first),
        Figure("cache hit rate in the last minute", last, at_least=0.85),
        Figure("memory of the predictor, last to most", left / most, at_most=0.75),
        Figure("requests that failed", float(day.failed), at_most=0),
    ]
    return Part(
        "bad_day",
        "the whole agent on a bad day",
        "all real: prime-spark up with its servers, open-loop users, nobody helps",
        figures,
        [_minutes(day), *(_row(one, day.began) for one in actions)],
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return fmean(values[:6]), fmean(values[-6:])


def _minutes(day: _Day) -> dict[str, object]:
    """Mean latency of both models in each minute, ms."""
    return {
        model: [f"{mean_ms(slices[first : first + 6]):.1f}" for first in range(0, len(slices), 6)]
        for model, slices in day.slices.items()
    }


def _row(action: Action, began: float) -> dict[str, object]:
    proposal, effect = action.proposal, action.effect
    change, begun = proposal.change, action.executed_at
    return {
        "minute": None if begun is None else round((begun - began) / 60.0, 1),
        "type": proposal.type,
        "state": action.state.value,
        "before": change.before if change else None,
        "after": change.after if change else None,
        "predicted": f"{proposal.expected.mean:+.1%}",
        "realised": "–" if effect is None or effect.gain is None else f"{effect.gain:+.1%}",
        "why": action.reason[:160],
    }
