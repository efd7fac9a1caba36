"""`cache_resize`: the size of the prediction cache, and of Redis, by the curve of their own keys.

Trigger: a hit rate below its setting in k of the last n looks; or a Redis that never evicts and
refuses writes for want of memory. Study: the hit rate of every size, from the recorded traffic or
from the keys that Redis is asked for. Effect: the smallest size that reaches the target hit rate,
or the knee of the curve; for Redis also another policy. Verified by the hit rate once the cache is
warm, beside the predicted one; undone to exactly what was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import JsonValue, ValidationError

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Tools
from optimizers.performance.cache_resize_effects import (
    HIGH,
    LOW,
    MOST_WARM_S,
    PREDICTED,
    WARM,
    CacheEffects,
)
from optimizers.performance.cache_resize_study import (
    NO_EVICTION,
    CacheStudy,
    Case,
    entries_of,
    study_of,
)
from optimizers.performance.priors import prior_of
from optimizers.performance.trigger import Sustained, sustained
from optimizers.plugins import PluginContext
from optimizers.targets.redis import MAXMEMORY, POLICY, RedisFacts
from optimizers.targets.serving import ServingFacts
from optimizers.view import View
from registry.agent_records import (
    Change,
    Direction,
    Estimate,
    Finding,
    Priority,
    Proposal,
    Severity,
)
from registry.metric_names import Labels, MetricName

TYPE = "cache_resize"
SERVING = "serving"
HIT_RATE = "cache_hit_rate"
REFUSED = "refused_writes_rps"

_WRITES = "writes"
_MARGIN_S = 120.0
# Windows are filled before and after, and each may take twice as long when samples are missing.
_LONGEST_WINDOWS = 4.0
# So many of the keys have to expire by themselves that dropping only those makes enough room.
_MOSTLY = 0.5


class CacheResize:
    """Sizes caches by their curves."""

    type = TYPE
    target = SERVING

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = settings.performance.cache_resize
        self._redis = tuple(one.name for one in settings.redis)
        self.targets = self._redis
        self.prior = prior_of(self._own)
        self.effects: Effects = CacheEffects(settings)
        agent = settings.agent
        windows = _LONGEST_WINDOWS * agent.verify_seconds
        self.deadline_s = agent.settle_seconds + windows + MOST_WARM_S + _MARGIN_S
        self.study_fresh_s = 2.0 * settings.monitoring.optimization_interval_seconds

    def detect(self, view: View) -> Sequence[Finding]:
        """Caches that answer too little, and a Redis that refuses to be written to."""
        found = list(self._served(view))
        for name in self._redis:
            facts = view.facts.get(name)
            if isinstance(facts, RedisFacts) and not facts.replica:
                found += self._of_redis(view, name, facts)
        return found

    def study(self, finding: Finding, view: View, tools: Tools, seconds: float) -> JsonValue | None:
        """The curve of the cache, and the size that follows from it."""
        if finding.subject.endswith(f"/{_WRITES}"):
            return None
        return study_of(Case(finding, view, tools, self._settings), seconds)

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """The one change that the study, or the refused writes, call for."""
        facts = view.facts.get(finding.target)
        if finding.subject.endswith(f"/{_WRITES}"):
            return [self._evicting(finding, facts)] if isinstance(facts, RedisFacts) else []
        study = self._known(view, finding.target, finding.subject)
        if study is None or study.forbidden or self._memory_full(view):
            return []
        return [] if _outdated(study, finding, view) else self._resizing(finding, study)

    def _known(self, view: View, target: str, subject: str) -> CacheStudy | None:
        """The fresh study of a cache; one by another version of this program is none."""
        known = view.study(TYPE, subject, self.study_fresh_s)
        if known is None or known.value is None:
            return None
        try:
            study = CacheStudy.model_validate(known.value)
        except ValidationError:
            return None
        return study if study.target == target else None

    def _served(self, view: View) -> Iterator[Finding]:
        facts = view.facts.get(SERVING)
        for name, model in facts.models.items() if isinstance(facts, ServingFacts) else ():
            for arm in model.arms:
                labels = (("model", name), ("version", str(arm.version)))
                seen = self._low(view, SERVING, labels)
                if seen is not None:
                    what = f"the prediction cache of {name}"
                    yield self._finding(view, (SERVING, name), what, seen, labels)
                    break

    def _of_redis(self, view: View, name: str, facts: RedisFacts) -> Iterator[Finding]:
        seen = self._low(view, name)
        if seen is not None:
            yield self._finding(view, (name, f"{name}/keys"), f"Redis ({name})", seen)
        refused = sustained(view, (name, REFUSED), self._own, lambda value: value > 0)
        if refused is not None and facts.policy == NO_EVICTION:
            yield Finding(
                id=f"{TYPE}:{name}:{_WRITES}",
                rule=TYPE,
                target=name,
                subject=f"{name}/{_WRITES}",
                severity=Severity.WARNING,
                text=f"Redis ({name}) refuses {refused.last:.3g} writes a second: its memory is "
                f"full and it never evicts ({NO_EVICTION})",
                at=view.at,
                metrics={REFUSED: refused.last},
            )

    def _low(self, view: View, target: str, labels: Labels = ()) -> Sustained | None:
        limit = self._own.hit_rate
        return sustained(view, (target, HIT_RATE), self._own, lambda rate: rate < limit, labels)

    def _finding(
        self,
        view: View,
        of: tuple[str, str],
        what: str,
        seen: Sustained,
        labels: Labels = (),
    ) -> Finding:
        target, subject = of
        return Finding(
            id=f"{TYPE}:{target}:{subject}",
            rule=TYPE,
            target=target,
            subject=subject,
            severity=Severity.WARNING,
            text=f"{what} answers {seen.last:.0%} of what it is asked, less than "
            f"{self._own.hit_rate:.0%} in {seen.met} of {seen.looks} looks"
            + self._advice(view, target, subject),
            at=view.at,
            metrics={HIT_RATE: seen.last},
            parameters=dict(labels),
        )

    def _advice(self, view: View, target: str, subject: str) -> str:
        """What a person could do, where the agent may not."""
        study = self._known(view, target, subject)
        if study is None or not study.forbidden or study.entries <= study.present:
            return ""
        option = study.knob.rpartition(".")[2]
        return (
            f"; the agent may not change it, so run there: CONFIG SET {option} {study.after} "
            f"(a hit rate of {study.predicted:.1%} is predicted)"
        )

    def _memory_full(self, view: View) -> bool:
        used = view.last("host", "memory_percent")
        limit = self._settings.performance.memory_cleanup.memory_percent
        return used is not None and used.value > limit

    def _resizing(self, finding: Finding, study: CacheStudy) -> Sequence[Proposal]:
        """The change of a study, if it gains anything."""
        now = study.rate_now
        larger = study.entries > study.present or study.basis == "policy"
        if study.after == study.before or not larger or study.predicted <= now or now <= 0:
            return []
        gains = [rate / now - 1.0 for rate in (study.predicted, study.low, study.high)]
        served = finding.target == SERVING
        return [
            Proposal(
                type=TYPE,
                target=finding.target,
                advice_id=advice_id(TYPE, finding.target, study.knob, str(study.after)),
                key=f"{TYPE}:{study.knob}:{study.before}:{study.after}:{int(finding.at)}",
                priority=Priority.MEDIUM,
                description=_description(study),
                parameters=_parameters(study),
                expected=Estimate(*gains),
                risk=self.prior.risk,
                # Of this cache alone: that of another model may not be asked for what it has.
                goal_metric=str(MetricName(HIT_RATE, _labels(finding))),
                goal_direction=Direction.MAXIMIZE,
                reversible=True,
                change=Change(study.knob, study.before, study.after),
                guardrails=("inference_latency_ms", "error_rate") if served else ("answer_ms",),
                finding_ids=(finding.id,),
                subject=finding.subject if served else "",
                # What turns other knobs of the predictor moves the same latency.
                conflicts=(f"target:{SERVING}",) if served else (),
            )
        ]

    def _evicting(self, finding: Finding, facts: RedisFacts) -> Proposal:
        """A policy that makes room: of keys that expire anyway, else a person has to agree."""
        mild = facts.expires >= _MOSTLY * facts.keys
        after = "volatile-lru" if mild else "allkeys-lru"
        name = finding.target
        what = "keys that expire anyway" if mild else "whatever was used longest ago, for good"
        return Proposal(
            type=TYPE,
            target=name,
            advice_id=advice_id(TYPE, name, POLICY, after),
            key=f"{TYPE}:{name}.{POLICY}:{facts.policy}:{after}:{int(finding.at)}",
            priority=Priority.HIGH if mild else Priority.CRITICAL,
            description=f"Let Redis ({name}) evict {what} ({after}) instead of refusing writes",
            parameters={"expires": facts.expires, "keys": facts.keys},
            expected=Estimate(1.0, 0.5, 1.0),
            risk=self.prior.risk,
            goal_metric=REFUSED,
            goal_direction=Direction.MINIMIZE,
            # What was evicted does not come back with the old policy.
            reversible=mild,
            change=Change(f"{name}.{POLICY}", facts.policy, after),
            guardrails=("answer_ms",),
            finding_ids=(finding.id,),
        )


def _outdated(study: CacheStudy, finding: Finding, view: View) -> bool:
    """True when somebody has resized the cache since it was studied."""
    facts = view.facts.get(finding.target)
    if isinstance(facts, RedisFacts):
        now = facts.maxmemory if study.knob.endswith(f".{MAXMEMORY}") else facts.policy
        return now != study.seen
    model = facts.models.get(finding.subject) if isinstance(facts, ServingFacts) else None
    return model is None or entries_of(model) != study.seen


def _description(study: CacheStudy) -> str:
    why = {
        "target": "the smallest size that reaches the target",
        "knee": "the knee of its curve",
        "policy": "the same memory, better used",
    }
    return (
        f"Set {study.knob} to {study.after}, {why.get(study.basis, study.basis)}: a hit rate of "
        f"{study.predicted:.1%} instead of {study.rate_now:.1%} is predicted"
    )


def _parameters(study: CacheStudy) -> dict[str, JsonValue]:
    return {
        PREDICTED: study.predicted,
        LOW: study.low,
        HIGH: study.high,
        WARM: study.warm_seconds,
        "entries_now": study.present,
        "entries": study.entries,
        "basis": study.basis,
        "reachable_hit_rate": study.reachable,
        "requests": study.requests,
    }


def _labels(finding: Finding) -> Labels:
    """Of the series that the finding is about."""
    return tuple((name, str(value)) for name, value in finding.parameters.items())


def make(context: PluginContext) -> CacheResize:
    """Entry point `cache_resize`."""
    return CacheResize(context.settings)
