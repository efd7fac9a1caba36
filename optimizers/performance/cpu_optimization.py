"""`cpu_optimization`: as many predictor workers as keep each about `target_cpu` busy.

Trigger: the processor, or the workers themselves, are busier than `cpu_percent` in k of the last n
looks; a worker takes requests on one core, so that one that is saturated may not show on a machine
of many. The other way: they were less busy than `idle_cpu_percent` in all of the last 2n looks.

Effect: the wanted number of workers (`replicas:predictor`). Out at once to what the queueing model
of `benchmarks.workers` says, in one at a time; between `min_workers` and the cores, the memory and
the idle time there are. Verified by windows: out by how busy a worker is, or by latency where the
workers were saturated, for then they take on more and stay busy; in by their number. Latency and
errors are guardrails of both. Undone to the exact value that was written, or to none.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from config.settings import Settings
from optimizers.capability import Effects, Tools
from optimizers.knob_effects import KnobEffects
from optimizers.performance.cpu_actions import (
    SCALE_IN,
    SUBJECT,
    TYPE,
    scale_in,
    scale_out,
    too_busy,
    too_many,
    why_not,
)
from optimizers.performance.cpu_sizing import (
    BUSY,
    HOST,
    IDLE_WINDOWS,
    SERVING,
    Sizing,
    began,
    size,
    values,
)
from optimizers.performance.cpu_study import study_traffic
from optimizers.performance.priors import prior_of
from optimizers.performance.trigger import Sustained, sustained
from optimizers.plugins import PluginContext
from optimizers.targets.replicas_facts import TARGET
from optimizers.targets.serving import ServingFacts
from optimizers.view import View
from registry.agent_records import Finding, Proposal

_SLACK_S = 600.0


class CpuOptimization:
    """Takes workers on when they are too busy, and lets them go when they idle."""

    type = TYPE
    target = TARGET
    targets = (SERVING,)
    study_fresh_s = 900.0

    def __init__(self, settings: Settings) -> None:
        agent, serving = settings.agent, settings.serving
        self._settings = settings.performance.cpu_optimization
        self._latency_s = serving.latency_objective_ms / 1000.0
        self.prior = prior_of(self._settings)
        self.effects: Effects = KnobEffects(
            samples=agent.verify_samples,
            every_s=agent.verify_seconds / agent.verify_samples,
            alpha=agent.verify_alpha,
        )
        # A worker that is let go first drains.
        drain_s = serving.drain_seconds + serving.request_timeout_seconds
        self.deadline_s = agent.settle_seconds + 2.0 * agent.verify_seconds + drain_s + _SLACK_S

    def detect(self, view: View) -> Sequence[Finding]:
        """The processor or the workers are too busy, or the workers idle."""
        busy, host = self._busy(view)
        seen = busy or host
        if seen is not None:
            sizing = self._size(view, self._settings.of)
            whose = "the predictor's workers are" if busy else "the processor is"
            return (
                [] if sizing is None else [too_busy(view.at, sizing, self._settings, whose, seen)]
            )
        sizing = self._idle(view)
        return [] if sizing is None else [too_many(view.at, sizing, self._settings)]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """Another number of workers, if the model has one that is better and fits."""
        if finding.rule == SCALE_IN:
            sizing = self._idle(view)
            return [] if sizing is None else [scale_in(finding, sizing, self._settings)]
        sizing = self._size(view, self._settings.of)
        if sizing is None or why_not(sizing, self._settings.target_cpu):
            return []
        return [scale_out(finding, sizing, self._settings)]

    def study(self, finding: Finding, view: View, tools: Tools, seconds: float) -> JsonValue | None:  # noqa: ARG002 - the seam's
        """Read how the requests cluster that were recorded during the looks."""
        facts = view.facts.get(SERVING)
        if not isinstance(facts, ServingFacts) or facts.traffic_folder is None:
            return None
        looks = IDLE_WINDOWS * self._settings.of
        since = began(view, (TARGET, BUSY), looks)
        return study_traffic(facts.traffic_folder, sorted(facts.models), since)

    def _size(self, view: View, looks: int) -> Sizing | None:
        study = view.study(self.type, SUBJECT, self.study_fresh_s)
        value = None if study is None else study.value
        return size(view, self._settings, self._latency_s, value, looks)

    def _busy(self, view: View) -> tuple[Sustained | None, Sustained | None]:
        over = lambda percent: percent > self._settings.cpu_percent  # noqa: E731
        return (
            sustained(view, (TARGET, BUSY), self._settings, over),
            sustained(view, (HOST, "cpu_percent"), self._settings, over),
        )

    def _idle(self, view: View) -> Sizing | None:
        """The sizing, where all is quiet for long and one worker fewer would do."""
        looks = IDLE_WINDOWS * self._settings.of
        quiet = values(view, (TARGET, BUSY), looks)
        sizing = self._size(view, looks)
        if sizing is None or len(quiet) < looks:
            return None
        running = sizing.facts.running
        fits = sizing.choice.workers < running > self._settings.min_workers
        return sizing if fits and max(quiet) < self._settings.idle_cpu_percent else None


def make(context: PluginContext) -> CpuOptimization:
    """Entry point `cpu_optimization`."""
    return CpuOptimization(context.settings)
