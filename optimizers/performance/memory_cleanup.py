"""`memory_cleanup`: give back what serving holds and nobody uses.

Trigger: memory is fuller than `memory_percent`, or work stood still for want of it (PSI) in more
than `pressure_percent` of the time, in k of the last n looks; and serving holds something that
could go.

Effect, one knob per action, the largest expected gain first: versions without a request for
`idle_seconds` leave memory, and come back when somebody asks for them; a cache is made as small as
its hit curve justifies; freed memory goes back to the system. Verified by `memory_mb` of serving
around the switch, with errors, refused requests and latency as guardrails. Undone to the value that
was written. The last knob is a counter: writing the old number back has no effect, and needs none,
for nothing was taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Tools
from optimizers.knob_effects import KnobEffects
from optimizers.performance.memory_study import IDLE, RELEASE, MemoryStudy, study_memory
from optimizers.performance.priors import prior_of
from optimizers.performance.reclaimable import TARGET, Reclaimable, reclaimable
from optimizers.performance.trigger import sustained
from optimizers.plugins import PluginContext
from optimizers.view import View
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Direction,
    Estimate,
    Finding,
    Priority,
    Proposal,
    Severity,
    Verdict,
)

_UNCLEAR = Verdict.INCONCLUSIVE
_SPENT = frozenset({ActionState.ROLLED_BACK, ActionState.HANDED_OVER, ActionState.FAILED})
# Throughput is what users ask for, which moves by itself; what they do not get is told by these.
_GUARDRAILS = ("error_rate", "inference_latency_p99_ms", "queue_refused_rps")
_FRESH_S = 300.0
_SLACK_S = 600.0
# What leaves memory may be more or less than the files say.
_SURPRISE = 1.5


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to give memory back, and how much is expected of it, MB."""

    knob: str
    after: JsonValue
    gives_mb: float
    text: str


class MemoryCleanup:
    """Lets go of what serving does not need."""

    type = "memory_cleanup"
    target = TARGET
    study_fresh_s = 300.0

    def __init__(self, settings: Settings) -> None:
        agent = settings.agent
        self._all = settings
        self._settings = settings.performance.memory_cleanup
        self.prior = prior_of(self._settings)
        self.effects: Effects = KnobEffects(
            samples=agent.verify_samples,
            every_s=agent.verify_seconds / agent.verify_samples,
            alpha=agent.verify_alpha,
        )
        self.deadline_s = agent.settle_seconds + 4.0 * agent.verify_seconds + _SLACK_S

    def detect(self, view: View) -> Sequence[Finding]:
        """Memory is short, and serving holds something that could go."""
        why, found = self._short(view), self._reclaimable(view)
        if not why or found is None or not found.anything:
            return []
        return [
            Finding(
                id=f"{self.type}:{TARGET}",
                rule=self.type,
                target=TARGET,
                subject="",
                severity=Severity.WARNING,
                text=(
                    f"{why}; serving holds {found.held:.0f} MB, of them {len(found.idle)} idle "
                    f"versions with {found.idle_mb:.0f} MB and caches of "
                    f"{sum(found.caches.values()):.0f} MB"
                ),
                at=view.at,
                metrics={"memory_mb": found.held, "idle_mb": found.idle_mb},
            )
        ]

    def study(self, finding: Finding, view: View, tools: Tools, seconds: float) -> JsonValue | None:  # noqa: ARG002 - the seam's
        """Read the knobs, and what the caches are good for."""
        found = self._reclaimable(view)
        if found is None:
            return None
        return study_memory(found, view, tools, self._all, seconds).model_dump(mode="json")

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """The way that gives back the most, of those that were not tried in vain.

        One whose effect was not clear comes last: what creeps while it is looked at may hide it.
        """
        found = self._reclaimable(view)
        study = view.study(self.type, finding.subject, self.study_fresh_s)
        if found is None or study is None or not isinstance(study.value, Mapping):
            return []
        looked = MemoryStudy.model_validate(study.value)
        ways = [
            one
            for one in self._ways(found, looked)
            if looked.written.get(one.knob) != one.after and not self._spent(one.knob, view)
        ]
        unclear = {one.knob for one in ways if self._tried(one.knob, view)}
        best = max(ways, key=lambda one: (one.knob not in unclear, one.gives_mb), default=None)
        if best is None:
            return []
        return [self._proposal(best, looked.written[best.knob], found, finding, view)]

    def _short(self, view: View) -> str:
        """Why memory counts as short; empty when it does not."""
        own = self._settings
        for metric, least, text in (
            ("memory_percent", own.memory_percent, "memory is {:.0f} % full"),
            (
                "psi_memory_some_percent",
                own.pressure_percent,
                "work stands still for want of memory {:.0f} % of the time",
            ),
        ):
            met = sustained(view, ("host", metric), own, lambda value, least=least: value > least)  # type: ignore[misc]
            if met is not None:
                return f"{text.format(met.last)}, more than {least:g} in {met.met} of {met.looks}"
        return ""

    def _reclaimable(self, view: View) -> Reclaimable | None:
        return reclaimable(view, self._settings.idle_seconds, self._all.serving.workers)

    def _ways(self, found: Reclaimable, looked: MemoryStudy) -> Iterator[_Way]:
        idle_s = self._settings.idle_seconds
        if found.idle_mb > 0:
            text = f"Let versions leave memory that nobody asked for {idle_s:g} s: now "
            yield _Way(IDLE, _plain(idle_s), found.idle_mb, text + ", ".join(found.idle))
        for one in looked.caches:
            text = (
                f"Shrink the cache of {one.model} from {one.present} to {one.justified} entries: "
                f"its hit rate would be {one.then:.1%} instead of {one.hit_rate:.1%}"
            )
            yield _Way(one.knob, one.justified, one.gives_mb, text)
        if found.swollen_mb > 0:
            before = looked.written.get(RELEASE)
            after = int(before) + 1 if isinstance(before, int | float) else 1
            text = "Give back memory that serving has freed and kept"
            yield _Way(RELEASE, after, found.swollen_mb, text)

    def _spent(self, knob: str, view: View) -> bool:
        tried = self._tried(knob, view)
        clear = any(one.effect is None or one.effect.verdict is not _UNCLEAR for one in tried)
        return (TARGET, knob) in view.held or clear

    def _tried(self, knob: str, view: View) -> list[Action]:
        """What was done with a knob and did not stay."""
        return [
            one
            for one in view.actions
            if one.proposal.type == self.type
            and one.state in _SPENT
            and one.proposal.change is not None
            and one.proposal.change.knob == knob
        ]

    def _proposal(
        self, way: _Way, before: JsonValue, found: Reclaimable, finding: Finding, view: View
    ) -> Proposal:
        gain = min(1.0, way.gives_mb / found.held)
        return Proposal(
            type=self.type,
            target=TARGET,
            # The counter's next number is no other advice than the one before it.
            advice_id=advice_id(self.type, TARGET, way.knob),
            key=f"{self.type}:{way.knob}:{int(finding.at)}",
            priority=Priority.HIGH,
            description=f"{way.text} (about {way.gives_mb:.0f} MB)",
            parameters={"gives_mb": round(way.gives_mb, 1)},
            expected=Estimate(gain, 0.0, min(1.0, _SURPRISE * gain)),
            risk=self.prior.risk,
            goal_metric="memory_mb",
            goal_direction=Direction.MINIMIZE,
            reversible=True,
            change=Change(way.knob, before, way.after),
            guardrails=tuple(one for one in _GUARDRAILS if view.recent(TARGET, one, _FRESH_S)),
            finding_ids=(finding.id,),
        )


def _plain(seconds: float) -> JsonValue:
    """Whole numbers as the ledger shows them."""
    return int(seconds) if seconds.is_integer() else seconds


def make(context: PluginContext) -> MemoryCleanup:
    """Entry point `memory_cleanup`."""
    return MemoryCleanup(context.settings)
