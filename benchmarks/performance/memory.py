"""Memory: what serving gives back when versions are idle, and what that costs those who ask.

Models of some tens of MB are served by one predictor inside a memory limit of the kernel, and one
of them is asked, in open loop. `prime-spark tune now memory_cleanup` looks and acts. Then the
settings before and the agent's take turns under the same load, each in every round, and each model
that has left memory is asked for once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import psutil

from benchmarks import serving_field as fields
from benchmarks.performance.counters import read_counters
from benchmarks.performance.crowd import Users, now, send_crowd
from benchmarks.performance.memory_limit import MemoryLimit, memory_limit
from benchmarks.performance.parts import Figure, Part, quartiles
from benchmarks.performance.stage import Stage
from benchmarks.serving_models import FEATURES, run_ms, write_model

SCOPE, KNOB = "serving", "idle_unload_seconds"
BUSY = "busy"
_IDLE_S = 5
# A predictor that has just begun to answer takes more memory with every minute for a while, and
# before a metric that creeps the judge does not trust any change.
_WARM_S = 120.0
_MEGABYTE = 1024 * 1024
_BUSY_SHARE = 0.5
_MOST_RPS = 200.0
_CHANGED_S = 60.0
# Of a turn, what loading and unloading may take.
_REST_S = 12.0
_ROW = {"inputs": [[0.5] * FEATURES]}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of some settings.

    Attributes:
        uss_mb: unique set of all the predictor's processes, the median of some looks.
        answered: requests answered, of those that were due.
        core_ms: processor time of a request.
    """

    uss_mb: float
    answered: float
    p99_ms: float
    core_ms: float


@dataclass(frozen=True, slots=True)
class _Scene:
    """The stage, the load, and the models that nobody asks."""

    stage: Stage
    limit: MemoryLimit
    idle: Sequence[str]
    file_mb: float
    rate: float
    seed: int

    @property
    def users(self) -> dict[str, Users]:
        return {BUSY: Users(self.stage.url_of(BUSY), self.rate, FEATURES)}

    def uss_mb(self) -> float:
        """Unique set of the predictor's processes, all together."""
        root = psutil.Process(self.stage.predictor.server.process.pid)
        tree = (root, *root.children(recursive=True))
        return sum(one.memory_full_info().uss for one in tree) / _MEGABYTE

    def asleep(self) -> int:
        """How many models have left memory."""
        return round(read_counters(self.stage.url).total("prime_spark_models_idle"))

    def turn_to(self, seconds: float | None) -> None:
        """Set after how long an idle version leaves memory, and wait until all have done so.

        Raises:
            RuntimeError: they do not.
        """
        self.stage.turn(SCOPE, {KNOB: seconds})
        wanted, ends = 0 if not seconds else len(self.idle), time.monotonic() + _CHANGED_S
        while self.asleep() != wanted:
            if time.monotonic() > ends:
                raise RuntimeError(f"{self.asleep()} models have left memory, not {wanted}")
            time.sleep(0.2)
        time.sleep(2.0)  # what was freed goes back to the system beside the event loop


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    rounds, seconds, layers, idle = (2, 4.0, 8, 3) if quick else (10, 10.0, 12, 5)
    names = [BUSY, *(f"idle-{number}" for number in range(idle))]
    with tempfile.TemporaryDirectory(prefix="prime-spark-memory-") as name, memory_limit() as limit:
        folder = Path(name)
        file = folder / "model.onnx"
        write_model(file, layers, seed)
        rate = min(_MOST_RPS, _BUSY_SHARE * 1000.0 / run_ms(file))
        with fields.open_field(folder) as servers:
            stage = _stage(folder, servers, limit, dict.fromkeys(names, file))
            file_mb = file.stat().st_size / _MEGABYTE
            scene = _Scene(stage, limit, names[1:], file_mb, rate, seed)
            _limit(scene)
            answer = _tuned(scene, quick=quick)
            chosen = stage.knobs().get(SCOPE, {}).get(KNOB)
            turns = _rounds(scene, chosen, rounds, seconds)
            woken = _woken(scene)
            kills, hits = limit.kills(), limit.hits()
    return _part(scene, turns, answer, woken, (kills, hits))


def _stage(
    folder: Path, servers: fields.Field, limit: MemoryLimit, models: Mapping[str, Path]
) -> Stage:
    """Start a registry outside of the limit, and a predictor inside it."""
    uri = fields.start_registry(servers)
    for model, path in models.items():
        fields.register(uri, model, [path])
    with limit.inside():
        predictor = fields.start_predictor(servers, "predictor", uri, list(models), pinned=False)
    values = {
        "HOME": predictor.home,
        "MLFLOW__TRACKING_URI": uri,
        "SERVING__PORT": predictor.server.port,
    }
    environment = {f"PRIME_SPARK_{name}": str(value) for name, value in values.items()}
    return Stage(folder, servers, uri, predictor, environment)


def _limit(scene: _Scene) -> None:
    """Leave room for one model to be loaded, which takes its file and two copies of its weights."""
    held = scene.limit.resident_bytes()
    if held is not None:
        scene.limit.set(held + round((4 * scene.file_mb + 64) * _MEGABYTE))


def _tuned(scene: _Scene, *, quick: bool) -> Mapping[str, object]:
    """Let the agent clean up under load; memory counts as short just below what is used."""
    used = psutil.virtual_memory().percent
    settings: dict[str, object] = {
        "AGENT__COOLDOWN_SECONDS": 0,
        "AGENT__SETTLE_SECONDS": 15,
        "AGENT__VERIFY_SAMPLES": 10 if quick else 20,
        "AGENT__VERIFY_SECONDS": 20 if quick else 100,
        "PERFORMANCE__MEMORY_CLEANUP__MEMORY_PERCENT": f"{max(0.5, 0.5 * used):.1f}",
        "PERFORMANCE__MEMORY_CLEANUP__IDLE_SECONDS": _IDLE_S,
    }
    crowd = send_crowd(scene.users, 900.0, slice_s=5.0, seed=scene.seed)
    try:
        crowd.await_begin()
        time.sleep(_IDLE_S if quick else _WARM_S)
        return scene.stage.tune("memory_cleanup", looks=5, every_s=2.0, **settings)
    finally:
        crowd.stop()


def _rounds(
    scene: _Scene, chosen: float | None, rounds: int, seconds: float
) -> dict[str, list[Turn]]:
    """Both settings in every round, in turns first."""
    turns: dict[str, list[Turn]] = {"before": [], "agent": []}
    values = {"before": None, "agent": chosen}
    for number in range(rounds):
        order = ("before", "agent") if number % 2 else ("agent", "before")
        for name in order:
            turns[name].append(_turn(scene, values[name], seconds, number))
    return turns


def _turn(scene: _Scene, value: float | None, seconds: float, number: int) -> Turn:
    """Turn to a setting while the load goes on, let it come to rest, then measure."""
    crowd = send_crowd(scene.users, _REST_S + seconds, slice_s=1.0, seed=scene.seed + number)
    crowd.await_begin()
    scene.turn_to(value)
    time.sleep(max(0.0, crowd.begins_at + _REST_S - now()))
    began, used, looks = now(), scene.stage.cpu_seconds(), [scene.uss_mb()]
    while now() < crowd.begins_at + _REST_S + seconds - 1.0:
        time.sleep(1.0)
        looks.append(scene.uss_mb())
    used, took = scene.stage.cpu_seconds() - used, now() - began
    found = [one for one in crowd.result()[BUSY] if one.at >= began]
    offered, answered = sum(one.offered for one in found), sum(one.answered for one in found)
    if not answered:
        raise RuntimeError(f"of {offered} requests none was answered; see the predictor's log")
    tail = median(one.p99_ms for one in found if one.answered)
    return Turn(median(looks), answered / offered, tail, 1000.0 * used / (took * scene.rate))


def _woken(scene: _Scene) -> list[float | None]:
    """Ask each model that left memory once; how long its first answer took, ms, None without."""
    found: list[float | None] = []
    with httpx.Client(timeout=60.0) as client:
        for model in scene.idle:
            began = time.perf_counter()
            answer = client.post(scene.stage.url_of(model), json=_ROW)
            took = (time.perf_counter() - began) * 1000.0
            found.append(took if answer.status_code == httpx.codes.OK else None)
    return found


def _part(
    scene: _Scene,
    turns: Mapping[str, Sequence[Turn]],
    answer: Mapping[str, object],
    woken: Sequence[float | None],
    met: tuple[int, int | None],
) -> Part:
    pairs = list(zip(turns["before"], turns["agent"], strict=True))
    released = [1.0 - after.uss_mb / before.uss_mb for before, after in pairs]
    lost = [1.0 - after.answered / before.answered for before, after in pairs]
    work = [after.core_ms / before.core_ms for before, after in pairs]
    tail = [after.p99_ms / before.p99_ms for before, after in pairs]
    back = [one for one in woken if one is not None]
    limited = "" if scene.limit.folder else "; no cgroup here: kills of the whole machine"
    return Part(
        name="memory",
        title=f"{len(scene.idle)} idle models of {scene.file_mb:.0f} MB beside one in use",
        real="all of it is real: registry, predictor, load, kernel limit, and the agent's action",
        figures=[
            _spread(
                "memory released, a share of the process tree's unique set", released, least=0.25
            ),
            _spread("throughput lost, a share", lost, most=0.01),
            Figure(
                "processes killed for want of memory",
                float(met[0]),
                at_most=0.0,
                note=_told(met) + limited,
            ),
            Figure(
                "of the models that left, answer on demand", len(back) / len(woken), at_least=1.0
            ),
            Figure("first answer of one that left", median(back) if back else None, "ms"),
            _spread("processor time of a request, after to before", work),
            _spread("p99 latency, after to before", tail),
            *_promised(answer),
        ],
        rows=[
            {"settings": name, "USS MB": f"{median([one.uss_mb for one in each]):.0f}"}
            for name, each in turns.items()
        ],
    )


def _spread(
    name: str, values: Sequence[float], *, least: float | None = None, most: float | None = None
) -> Figure:
    middle, low, high = quartiles(values)
    note = "median and quartiles of the rounds"
    return Figure(name, middle, "", low, high, at_least=least, at_most=most, note=note)


def _told(met: tuple[int, int | None]) -> str:
    return "" if met[1] is None else f"the limit was met, and pages were dropped, {met[1]} times"


def _promised(answer: Mapping[str, object]) -> list[Figure]:
    """What the agent expected of its action, and what it saw; its own gauge is of workers alone."""
    actions = answer["actions"]
    if not isinstance(actions, list) or not actions:
        return [
            Figure(
                "the agent acted and kept it", 0.0, at_least=1.0, note=str(answer.get("left_out"))
            )
        ]
    [one, *_] = actions
    effect = one["effect"] or {}
    kept = float(one["state"] == "completed")
    return [
        Figure("the agent acted and kept it", kept, at_least=1.0, note=one["reason"]),
        Figure("gain the agent expected", one["proposal"]["expected"]["mean"]),
        Figure(
            "gain the agent measured", effect.get("gain"), "", effect.get("low"), effect.get("high")
        ),
    ]
