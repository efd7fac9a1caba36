"""When a cache is resized, to what, and how that is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from benchmarks.cache_curves.redis_keys import KeyStream
from config.clock import Clock, ManualClock, SystemClock
from config.errors import InputError
from optimizers.capability import Seen, Sight, Tools
from optimizers.performance.cache_resize import CacheResize
from optimizers.performance.cache_resize_study import CacheStudy
from optimizers.targets.base import Observed
from optimizers.targets.redis import RedisFacts, RedisTarget
from optimizers.targets.serving import ServingTarget
from optimizers.targets.serving_knobs import ServingKnobs
from optimizers.testing import FreeGuard, check_capability, check_knob_action
from optimizers.testing.capabilities import _action, _NoJobs
from optimizers.view import Study, View
from registry.agent_records import Action, Change, Effect, Observation, Priority, Proposal, Verdict
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.metric_names import MetricName
from registry.traffic import TrafficRing
from tests.services.paged_server import paged_server
from tests.unit.benchmarks.cache_curves.streams import lru_hits, zipf
from tests.unit.optimizers.performance.cache_views import (
    KNOB,
    NOW,
    SETTINGS,
    facts,
    redis_facts,
    redis_study,
    redis_view,
    series,
    study,
    view,
)

CAPABILITY = CacheResize(SETTINGS)


def _proposed(seen: View) -> list[Proposal]:
    return [one for finding in CAPABILITY.detect(seen) for one in CAPABILITY.propose(finding, seen)]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[ServingTarget]:
    """The target of a predictor that serves `digits`, with its knobs in a real ledger."""
    pages = {"/metrics": b"", "/models": facts().model_dump_json().encode()}
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    clock = SystemClock()
    with paged_server(pages) as server:
        yield ServingTarget(server.url, clock, knobs=ServingKnobs(KnobStore(engine, clock)))
    engine.dispose()


def _tools(target: ServingTarget, clock: Clock, sample: object = None) -> Tools:
    def nothing(_target: str, _metrics: Sequence[str]) -> Mapping[str, float]:
        return {}

    return Tools(
        targets={"serving": target, "host": target},
        jobs=_NoJobs(),
        clock=clock,
        wait=lambda _seconds: None,
        sample=sample or nothing,  # type: ignore[arg-type]
    )


def test_it_conforms(serving: ServingTarget) -> None:
    [proposal] = check_capability(CAPABILITY, [view(known=study())], bounds={KNOB: (1, 1_000_000)})
    check_knob_action(CAPABILITY.effects, proposal, serving, stranger=77)
    check_capability(CAPABILITY, [redis_view("cache_hit_rate", 0.5, redis_facts(), redis_study())])


def test_the_gain_is_the_predicted_hit_rate_over_the_present_one() -> None:
    [proposal] = _proposed(view(0.6, known=study()))
    # With the whole target, as of an action that turns the predictor's batching.
    assert "target:serving" in proposal.domains
    assert proposal.change == Change(KNOB, None, 4000)
    assert proposal.expected.mean == pytest.approx(0.5)
    assert proposal.expected.low == pytest.approx(0.88 / 0.6 - 1)
    assert proposal.parameters["predicted_hit_rate"] == 0.9
    assert proposal.subject == "digits"
    # Other models' caches have nothing to do with it.
    assert proposal.goal_metric == 'cache_hit_rate{model="digits",version="3"}'


@pytest.mark.parametrize(
    "seen",
    [
        view(0.6),
        view(0.75, known=study()),
        view(0.6, known=study(), memory_percent=90.0),
        view(0.6, known=study(), entries=800),
        view(0.6, known=study(predicted=0.6)),
        view(0.6, known=study(entries=400, after=400)),
        view(0.6, known={"target": "serving"}),
        View(at=NOW),
    ],
    ids=[
        "not studied",
        "hit rate is fine",
        "no memory",
        "resized meanwhile",
        "no gain",
        "smaller",
        "old study",
        "nothing seen",
    ],
)
def test_nothing_is_proposed(seen: View) -> None:
    assert _proposed(seen) == []


def test_one_bad_look_is_no_finding() -> None:
    seen = view(0.9)
    history = dict(seen.history)
    key = ("serving", "cache_hit_rate")
    history[key] = [*history[key][:-1], replace(history[key][-1], value=0.1)]
    assert CAPABILITY.detect(replace(seen, history=history)) == []


def test_a_replica_is_left_alone() -> None:
    seen = redis_view("cache_hit_rate", 0.5, redis_facts(replica=True), redis_study())
    assert CAPABILITY.detect(seen) == []


def test_a_server_resized_by_a_person_meanwhile_is_left_alone() -> None:
    known = redis_study(before=4 * 2**20, seen=4 * 2**20)
    assert _proposed(redis_view("cache_hit_rate", 0.5, redis_facts(), known)) == []


def test_a_server_that_refuses_config_gets_advice_only() -> None:
    known = redis_study(forbidden="it refuses CONFIG GET maxmemory")
    seen = redis_view("cache_hit_rate", 0.5, redis_facts(), known)
    [finding] = CAPABILITY.detect(seen)
    assert "run there: CONFIG SET maxmemory 20971520 (a hit rate of 90.0%" in finding.text
    assert CAPABILITY.propose(finding, seen) == []


@pytest.mark.parametrize(
    ("expires", "policy", "reversible", "priority"),
    [(20_000, "volatile-lru", True, Priority.HIGH), (10, "allkeys-lru", False, Priority.CRITICAL)],
)
def test_refused_writes_call_for_another_policy(
    expires: int, policy: str, *, reversible: bool, priority: Priority
) -> None:
    server = redis_facts("noeviction", expires=expires)
    seen = redis_view("refused_writes_rps", 12.0, server)
    [proposal] = check_capability(CAPABILITY, [seen])
    assert proposal.change == Change("sessions.maxmemory-policy", "noeviction", policy)
    assert (proposal.reversible, proposal.priority) == (reversible, priority)
    assert proposal.goal_metric == "refused_writes_rps"


@pytest.mark.parametrize("server", [redis_facts("noeviction"), redis_facts("allkeys-lru")])
def test_a_server_that_takes_writes_keeps_its_policy(server: RedisFacts) -> None:
    assert CAPABILITY.detect(redis_view("refused_writes_rps", 0.0, server)) == []


def _recorded(folder: Path, keys: Sequence[int], worker: str, rate: float = 1000.0) -> None:
    ring = TrafficRing(folder, "digits", worker, 100_000)
    for place, key in enumerate(keys):
        ring.add(NOW + place / rate, key + 1, 1, 3)
    ring.flush()


def _studied(seen: View, target: ServingTarget) -> CacheStudy | None:
    [finding] = CAPABILITY.detect(seen)
    value = CAPABILITY.study(finding, seen, _tools(target, SystemClock()), 30.0)
    json.dumps(value)
    return None if value is None else CacheStudy.model_validate(value)


def test_recorded_traffic_foretells_the_hit_rate(serving: ServingTarget, tmp_path: Path) -> None:
    keys = [zipf(60_000, 3000, 0.9, seed) for seed in (1, 2)]
    for worker, asked in enumerate(keys):
        _recorded(tmp_path, asked[:40_000].tolist(), f"worker-{worker}")
    found = _studied(view(0.6, traffic=tmp_path), serving)
    assert found is not None
    assert (found.knob, found.before, found.basis) == (KNOB, None, "target")
    assert found.requests == 80_000
    realised = np.mean([lru_hits(one.tolist(), found.entries)[40_000:] for one in keys])
    assert found.predicted == pytest.approx(realised, abs=0.005)
    assert realised >= 0.895
    fresh = found.entries - found.present
    assert found.warm_seconds == pytest.approx(fresh / (1000 * (1 - found.predicted)), rel=0.01)


def test_memory_bounds_the_size(serving: ServingTarget, tmp_path: Path) -> None:
    _recorded(tmp_path, zipf(40_000, 3000, 0.9, 1).tolist(), "one")
    seen = view(0.6, traffic=tmp_path)
    labels = (("model", "digits"), ("version", "3"))
    big = {
        ("serving", "cache_bytes"): series("serving", "cache_bytes", 500 * 65_536.0, labels),
        ("serving", "cache_entries"): series("serving", "cache_entries", 500.0, labels),
    }
    byte_limit = _studied(replace(seen, history={**seen.history, **big}), serving)
    assert byte_limit is not None
    assert 500 < byte_limit.entries <= 64 * 2**20 // 65_536
    free = {
        ("host", "memory_available_bytes"): series("host", "memory_available_bytes", 26_214_400.0)
    }
    little = _studied(replace(seen, history={**seen.history, **big, **free}), serving)
    assert little is not None
    assert 500 < little.entries <= 700


class _Heard(RedisTarget):
    """A server with 8 MB whose users and hit rate are known beforehand."""

    def __init__(self, hit_rate: float) -> None:
        super().__init__("sessions", "redis://127.0.0.1:1", SystemClock())
        self._hit_rate = hit_rate

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        return Observed([Observation(self.name, "cache_hit_rate", self._hit_rate, at)])

    def read(self, knob: str) -> JsonValue:  # noqa: ARG002
        return 8 * 2**20

    def listen(self, seconds: float) -> KeyStream:
        return KeyStream(zipf(100_000, 90_000, 0.9, 1), seconds, 200_000)


def _studied_redis(policy: str, measured: float) -> tuple[CacheStudy, Sequence[Proposal]]:
    seen = redis_view("cache_hit_rate", measured, redis_facts(policy))
    target = _Heard(measured)
    tools = replace(_tools(None, SystemClock()), targets={"sessions": target})  # type: ignore[arg-type]
    [finding] = CAPABILITY.detect(seen)
    value = CAPABILITY.study(finding, seen, tools, 30.0)
    study = CacheStudy.model_validate(value)
    known = {("cache_resize", finding.subject): Study(seen.at, value)}
    return study, CAPABILITY.propose(finding, replace(seen, studies=known))


def test_a_policy_that_does_worse_than_lru_is_replaced_first() -> None:
    study, [proposal] = _studied_redis("allkeys-random", 0.5)
    assert proposal.change == Change("sessions.maxmemory-policy", "allkeys-random", "allkeys-lru")
    assert study.predicted > 0.55
    assert proposal.expected.mean == pytest.approx(study.predicted / 0.5 - 1)


def test_what_size_does_not_explain_is_not_promised() -> None:
    honest, _ = _studied_redis("allkeys-lru", 0.65)
    expiring, [proposal] = _studied_redis("allkeys-lru", 0.4)
    assert proposal.change is not None
    assert proposal.change.knob == "sessions.maxmemory"
    assert expiring.entries == honest.entries
    assert expiring.rate_now == pytest.approx(0.4)
    assert expiring.predicted < honest.predicted - 0.1


def test_too_little_traffic_tells_nothing(serving: ServingTarget, tmp_path: Path) -> None:
    _recorded(tmp_path, list(range(500)), "one")
    assert _studied(view(0.6, traffic=tmp_path), serving) is None
    with pytest.raises(InputError, match="no traffic of digits"):
        _studied(view(0.6), serving)


class _Cache:
    """A cache whose hit rate is better once its knob is turned."""

    def __init__(self, clock: ManualClock, after: float, memory: float = 40.0) -> None:
        self.clock = clock
        self.after = after
        self.memory = memory
        self.turned = False

    def sample(self, _target: str, metrics: Sequence[str]) -> dict[str, float]:
        wobble = 0.002 * ((self.clock.monotonic() // 15) % 3)
        values = {
            "cache_hit_rate": (self.after if self.turned else 0.6) + wobble,
            "inference_latency_ms": 10.0 + wobble,
            "error_rate": 0.0,
            "memory_percent": self.memory,
        }
        return {metric: values[MetricName.parse(metric).metric] for metric in metrics}


def _verified(serving: ServingTarget, cache: _Cache) -> Effect:
    """Carry out a resize, and return what came of it."""
    tools = _tools(serving, cache.clock, cache.sample)
    effects = CacheResize(SETTINGS).effects
    [proposal] = _proposed(view(0.6, known=study()))
    action: Action = _action(proposal)
    prepared: Mapping[str, JsonValue] | None = None
    while prepared is None:
        prepared = effects.prepare(action, tools)  # type: ignore[attr-defined]
        cache.clock.advance(1.0)
    action = replace(action, progress=dict(prepared))
    effects.apply(action, FreeGuard(), tools)
    cache.turned = True
    for _ in range(2000):
        effect = effects.verify(action, tools)
        if isinstance(effect, Effect):
            return effect
        cache.clock.advance(1.0)
    raise AssertionError("it never came to a verdict")


def test_the_realised_hit_rate_stands_beside_the_predicted_one(
    serving: ServingTarget, clock: ManualClock
) -> None:
    effect = _verified(serving, _Cache(clock, 0.9))
    assert effect.verdict is Verdict.IMPROVED
    assert "predicted hit rate 90.0% (88.0% to 92.0%), realised 90.2%" in effect.reason
    assert effect.gain == pytest.approx(0.5, abs=0.01)
    # 40 s to fill, a look to begin with, and a sample each 15 s.
    assert clock.monotonic() >= 300 + 40 + 300


def test_a_cache_that_does_not_help_is_no_improvement(
    serving: ServingTarget, clock: ManualClock
) -> None:
    effect = _verified(serving, _Cache(clock, 0.5))
    assert effect.verdict is Verdict.WORSE


def test_a_machine_that_runs_out_of_memory_ends_it_at_once(
    serving: ServingTarget, clock: ManualClock
) -> None:
    effect = _verified(serving, _Cache(clock, 0.9, memory=95.0))
    assert effect.worsened == ("memory_percent@host",)
    assert "memory is 95 % full" in effect.reason


def test_a_persons_edit_is_seen(serving: ServingTarget) -> None:
    [proposal] = _proposed(view(0.6, known=study()))
    action, tools = _action(proposal), _tools(serving, SystemClock())
    CAPABILITY.effects.apply(action, FreeGuard(), tools)
    serving.write(Change(KNOB, 4000, 1234), FreeGuard())
    seen: Seen = CAPABILITY.effects.look(action, tools)
    assert (seen.sight, seen.value) == (Sight.OTHER, 1234)
