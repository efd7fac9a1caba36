"""Resizing a real Redis under the load of users who set what they miss."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from benchmarks.performance.redis_users import RedisUsers, redis_users
from config.clock import SystemClock, epoch
from config.errors import InputError, UnavailableError
from config.performance_settings import CacheSettings, PerformanceSettings, RedisSettings
from config.settings import AgentSettings, Settings
from optimizers.capability import Sight, Tools
from optimizers.performance.cache_resize import CacheResize
from optimizers.performance.cache_resize_study import CacheStudy
from optimizers.targets.base import Target
from optimizers.targets.redis import MEGABYTE, RedisTarget
from optimizers.testing import FreeGuard, check_knob_action
from optimizers.testing.capabilities import _action, _NoJobs
from optimizers.view import Study, View
from registry.agent_records import Action, Effect, Observation, Proposal, Verdict
from tests.services.processes import wait_until
from tests.services.redis_server import RunningRedis, running_redis

CLOCK = SystemClock()
HEARD = 15_000
USERS = {"keys": 1500, "exponent": 0.9, "value_bytes": 3500, "seed": 1, "rest_s": 0.003}


class Agent:
    """One capability, one server, and nothing else."""

    def __init__(self, server: RunningRedis) -> None:
        own = CacheSettings(redis_seconds=30.0, max_redis_mb=64.0)
        self.settings = Settings(
            performance=PerformanceSettings(cache_resize=own),
            agent=AgentSettings(verify_samples=20, verify_seconds=3.0, verify_alpha=0.05),
            redis=(RedisSettings(url=server.url),),
        )
        self.capability = CacheResize(self.settings)
        # So many tell the curve, however slow the machine is now.
        self.target = RedisTarget("redis", server.url, CLOCK, most_heard=HEARD)
        targets: dict[str, Target] = {"redis": self.target}
        self.tools = Tools(
            targets=targets,
            jobs=_NoJobs(),
            clock=CLOCK,
            wait=time.sleep,
            sample=self._sample,
        )

    def _sample(self, _target: str, metrics: Sequence[str]) -> dict[str, float]:
        seen = self.target.observe(0.0, 5.0).observations
        return {one.metric: one.value for one in seen if one.metric in metrics}

    def view(self) -> View:
        """What is seen within a second, as if it had been seen five times."""
        self.target.observe(0.0, 5.0)
        time.sleep(1.0)
        now = epoch(CLOCK.now())
        seen = self.target.observe(now, 5.0)
        history = {
            ("redis", one.metric): [
                Observation("redis", one.metric, one.value, now - 30.0 * age)
                for age in reversed(range(5))
            ]
            for one in seen.observations
        }
        return View(at=now, history=history, facts={"redis": seen.facts})

    def proposal(self) -> tuple[CacheStudy, Proposal]:
        """Look, study, and propose."""
        view = self.view()
        [finding] = self.capability.detect(view)
        value = self.capability.study(finding, view, self.tools, 60.0)
        known = {("cache_resize", finding.subject): Study(view.at, value)}
        seen = View(at=view.at, history=view.history, facts=view.facts, studies=known)
        [proposal] = self.capability.propose(finding, seen)
        return CacheStudy.model_validate(value), proposal


@pytest.fixture(scope="module")
def busy() -> Iterator[RunningRedis]:
    """A server whose users are at work."""
    with running_redis("--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru") as server:
        users = RedisUsers(port=server.port, **USERS)  # type: ignore[arg-type]
        with redis_users(users):
            client = server.client()
            wait_until(lambda: client.info("stats")["evicted_keys"] > 0, 20.0, "it is full")
            yield server


@pytest.fixture
def small(busy: RunningRedis) -> RunningRedis:
    """The server as it was: too small for its users."""
    busy.client().config_set("maxmemory", 2 * MEGABYTE)
    return busy


def test_it_grows_to_what_its_keys_call_for(small: RunningRedis) -> None:
    agent = Agent(small)
    study, proposal = agent.proposal()
    assert proposal.change is not None
    assert proposal.change.knob == "redis.maxmemory"
    assert proposal.change.before == 2 * MEGABYTE
    assert 2.5 * MEGABYTE < int(str(proposal.change.after)) <= 8 * MEGABYTE
    assert study.predicted >= study.rate_now + 0.05
    check_knob_action(agent.capability.effects, proposal, agent.target, stranger=5 * MEGABYTE)
    effect = _carried_out(agent, _action(proposal))
    assert effect.verdict is Verdict.IMPROVED, effect.reason
    # So small a server needs as much beside its keys as for them: the benchmark measures, on a
    # larger one, how well it is foretold.
    assert effect.gain is not None
    assert effect.gain >= 0.5 * proposal.expected.mean
    assert "realised" in effect.reason
    agent.capability.effects.undo(_action(proposal), FreeGuard(), agent.tools)
    assert agent.target.read("redis.maxmemory") == 2 * MEGABYTE


def _carried_out(agent: Agent, action: Action) -> Effect:
    effects = agent.capability.effects
    prepared = None
    while prepared is None:
        prepared = effects.prepare(action, agent.tools)  # type: ignore[attr-defined]
        time.sleep(0.05)
    effects.apply(action, FreeGuard(), agent.tools)
    with_samples = _with(action, prepared)
    while True:
        effect = effects.verify(with_samples, agent.tools)
        if isinstance(effect, Effect):
            return effect
        time.sleep(0.05)


def _with(action: Action, progress: object) -> Action:

    return replace(action, progress=progress)  # type: ignore[arg-type]


def test_another_policy_is_proposed_and_undone_exactly() -> None:
    options = ("--maxmemory", "2mb", "--maxmemory-policy", "noeviction")
    with running_redis(*options) as server:
        agent = Agent(server)
        users = RedisUsers(port=server.port, **USERS)  # type: ignore[arg-type]
        with redis_users(users):
            client = server.client()
            wait_until(lambda: "errorstat_OOM" in client.info(), 20.0, "it refuses writes")
            view = agent.view()
        [proposal] = [
            one
            for finding in agent.capability.detect(view)
            for one in agent.capability.propose(finding, view)
        ]
        assert proposal.change is not None
        assert proposal.change.after == "allkeys-lru"
        assert not proposal.reversible
        effects = agent.capability.effects
        check_knob_action(effects, proposal, agent.target, stranger="volatile-ttl")
        assert agent.target.read("redis.maxmemory-policy") == "noeviction"


def test_a_persons_resize_is_seen_and_left(small: RunningRedis) -> None:
    agent = Agent(small)
    _, proposal = agent.proposal()
    action = _action(proposal)
    agent.capability.effects.apply(action, FreeGuard(), agent.tools)
    client = small.client()
    client.config_set("maxmemory", 7 * MEGABYTE)
    try:
        assert agent.capability.effects.look(action, agent.tools).sight is Sight.OTHER
        assert agent.target.read("redis.maxmemory") == 7 * MEGABYTE
    finally:
        client.config_set("maxmemory", 2 * MEGABYTE)


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        (("--maxmemory", "0"), InputError, "has no maxmemory"),
        (("--maxmemory-policy", "noeviction"), InputError, "never evicts"),
        (("--rename-command", "MONITOR", ""), UnavailableError, "refuses MONITOR"),
    ],
)
def test_what_cannot_be_judged_says_why(
    options: tuple[str, ...], error: type[Exception], why: str
) -> None:
    full = ("--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru")
    with running_redis(*full, *options) as server:
        agent, client = Agent(server), server.client()
        client.set("one", "x")
        view = agent.view()
        missed = [Observation("redis", "cache_hit_rate", 0.1, view.at)] * 5
        view = View(at=view.at, history={("redis", "cache_hit_rate"): missed}, facts=view.facts)
        [finding] = agent.capability.detect(view)
        with pytest.raises(error, match=why):
            agent.capability.study(finding, view, agent.tools, 60.0)


def test_one_that_refuses_config_is_studied_for_a_person(small: RunningRedis) -> None:
    client = small.client()
    client.acl_setuser("reader", enabled=True, nopass=True, keys="*", commands=["+@all", "-config"])
    agent = Agent(small)
    agent.target = RedisTarget(
        "redis", f"redis://reader:x@127.0.0.1:{small.port}", CLOCK, most_heard=HEARD
    )
    agent.tools = replace(agent.tools, targets={"redis": agent.target})
    view = agent.view()
    [finding] = agent.capability.detect(view)
    study = agent.capability.study(finding, view, agent.tools, 60.0)
    known = {("cache_resize", finding.subject): Study(view.at, study)}
    [told] = agent.capability.detect(replace(view, studies=known))
    assert "run there: CONFIG SET maxmemory" in told.text
    assert agent.capability.propose(told, replace(view, studies=known)) == []
