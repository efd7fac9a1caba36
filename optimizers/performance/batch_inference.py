"""`batch_inference`: how requests are run together, when answers take too long.

Trigger: the mean latency of a served version above its setting in k of the last n looks. Study: the
model's runs are timed, its recorded traffic is replayed at its recorded times, and the settings
are searched under the latency objective (`benchmarks.batching`), in a process of its own at low
priority. Effect: the setting that stands the most traffic within the objective, if it is better at
the present traffic, too; one change of `serving/<model>.batching`. Verified by flipping between
both; undone to exactly what was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import JsonValue, ValidationError

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Tools
from optimizers.knob_effects import SWITCH_SETTLE_S, KnobEffects
from optimizers.performance.batch_study import (
    Batching,
    BatchStudy,
    FetchModel,
    batching_of,
    fetch_from,
    study_of,
)
from optimizers.performance.priors import prior_of
from optimizers.performance.trigger import sustained
from optimizers.plugins import PluginContext
from optimizers.targets.serving import ServedArm, ServingFacts
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

TYPE = "batch_inference"
SERVING = "serving"
LATENCY = "inference_latency_ms"

_GUARDRAILS = ("error_rate", "throughput_rps")
_MARGIN_S = 120.0
_POLLS = 3.0


class BatchInference:
    """Tunes batching on what was recorded."""

    type = TYPE
    target = SERVING

    def __init__(self, settings: Settings, fetch: FetchModel) -> None:
        self._settings = settings
        self._own = settings.performance.batch_inference
        self._fetch = fetch
        self._objective_ms = settings.serving.latency_objective_ms
        self.prior = prior_of(self._own)
        agent = settings.agent
        settle_s = max(SWITCH_SETTLE_S, _POLLS * settings.serving.poll_seconds)
        # However soon a person wants to know, half of each sample's time is measured.
        every_s = max(agent.verify_seconds / agent.verify_samples, 2.0 * settle_s)
        self.effects: Effects = KnobEffects(
            samples=agent.verify_samples,
            every_s=every_s,
            alpha=agent.verify_alpha,
            pairs=True,
            switch_settle_s=settle_s,
        )
        pairs_s = 4.0 * agent.verify_samples * (every_s + settle_s)
        self.deadline_s = agent.settle_seconds + pairs_s + _MARGIN_S
        self.study_fresh_s = 2.0 * settings.monitoring.optimization_interval_seconds

    def detect(self, view: View) -> Sequence[Finding]:
        """Models that answer slowly."""
        return [self._finding(view, *found) for found in self._slow(view)]

    def study(self, finding: Finding, view: View, tools: Tools, seconds: float) -> JsonValue | None:
        """Tune the model on its recorded traffic; see `optimizers.performance.batch_study`."""
        arm = _champion(view, finding.subject)
        facts = view.facts.get(SERVING)
        if arm is None or not isinstance(facts, ServingFacts):
            return None
        knob = f"serving/{finding.subject}.batching"
        before = tools.targets[SERVING].read(knob)
        return (
            study_of(
                self._settings,
                model=finding.subject,
                arm=arm,
                traffic=facts.traffic_folder,
                fetch=self._fetch,
                seconds=seconds,
            )
            .model_copy(update={"before": before})
            .model_dump(mode="json")
        )

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """The setting that the study found, unless somebody has changed the present one since."""
        study = self._known(view, finding.subject)
        arm = _champion(view, finding.subject)
        if study is None or arm is None or study.live is None or study.gain is None:
            return []
        if batching_of(arm, self._settings) != study.current.setting or not self._allowed(study):
            return []
        return [self._proposal(finding, study, arm)]

    def _slow(self, view: View) -> Iterator[tuple[str, float, str]]:
        facts = view.facts.get(SERVING)
        limit = self._own.latency_ms
        for model in facts.models if isinstance(facts, ServingFacts) else ():
            arm = _champion(view, model)
            if arm is None:
                continue
            seen = sustained(
                view,
                (SERVING, LATENCY),
                self._own,
                lambda value: value > limit,
                _labels(model, arm),
            )
            if seen is not None:
                yield model, seen.last, f"{seen.met} of {seen.looks} looks"

    def _finding(self, view: View, model: str, last: float, looks: str) -> Finding:
        return Finding(
            id=f"{TYPE}:{model}",
            rule=TYPE,
            target=SERVING,
            subject=model,
            severity=Severity.WARNING,
            text=f"{model} takes {last:.0f} ms on average to answer, more than "
            f"{self._own.latency_ms:g} ms in {looks}{self._why_not(view, model)}",
            at=view.at,
            metrics={LATENCY: last},
        )

    def _why_not(self, view: View, model: str) -> str:
        """Why nothing is proposed, where a study has found that out."""
        known = view.study(TYPE, model, self.study_fresh_s)
        if known is not None and known.trouble:
            return f"; its batching cannot be tuned: {known.trouble}"
        study = self._known(view, model)
        if study is None or study.live is not None:
            return ""
        return (
            f"; of {study.grid} ways to run its requests together none is predicted to be better "
            "for this traffic than the present one"
        )

    def _known(self, view: View, model: str) -> BatchStudy | None:
        """The fresh study of a model; one by another version of this program is none."""
        known = view.study(TYPE, model, self.study_fresh_s)
        if known is None or known.value is None:
            return None
        try:
            return BatchStudy.model_validate(known.value)
        except ValidationError:
            return None

    def _allowed(self, study: BatchStudy) -> bool:
        """Whether what was found is within the bounds, which may have changed since."""
        after = study.live.setting if study.live else study.current.setting
        own = self._own
        return after.max_batch_size <= own.max_batch_size and after.max_wait_ms <= own.max_wait_ms

    def _priority(self, study: BatchStudy) -> Priority:
        """High where users get less than they were promised: it costs no core and no memory."""
        p99_ms = study.current.p99_ms
        late = p99_ms is None or p99_ms > self._objective_ms
        return Priority.HIGH if late else Priority.MEDIUM

    def _proposal(self, finding: Finding, study: BatchStudy, arm: ServedArm) -> Proposal:
        assert study.live is not None
        assert study.gain is not None
        model, live = finding.subject, study.live
        after = live.setting.model_dump(mode="json")
        knob = f"serving/{model}.batching"
        gain = study.gain
        return Proposal(
            type=TYPE,
            target=SERVING,
            advice_id=advice_id(TYPE, SERVING, knob, _said(live.setting)),
            key=f"{TYPE}:{knob}:{_said(study.current.setting)}:{_said(live.setting)}:"
            f"{int(finding.at)}",
            priority=self._priority(study),
            description=f"Run requests for {model} together by {_said(live.setting)} instead of "
            f"{_said(study.current.setting)}: predicted are {_ms(live.mean_ms)} on average and "
            f"{_ms(live.p99_ms)} for the slowest hundredth",
            parameters={
                "predicted_mean_ms": live.mean_ms,
                "predicted_p99_ms": live.p99_ms,
                "predicted_rate": live.rate,
                "rate_before": study.current.rate,
                "recorded_requests": study.requests,
                "recorded_rate": study.rate,
                "tried": study.tried,
                "grid": study.grid,
            },
            expected=Estimate(gain.mean, gain.low, gain.high),
            risk=self.prior.risk,
            # Of this model alone: what the others do would only be noise.
            goal_metric=str(MetricName(LATENCY, _labels(model, arm))),
            goal_direction=Direction.MINIMIZE,
            reversible=True,
            change=Change(knob, study.before, after),
            guardrails=_GUARDRAILS,
            finding_ids=(finding.id,),
        )


def _labels(model: str, arm: ServedArm) -> Labels:
    return (("model", model), ("version", str(arm.version)))


def _champion(view: View, model: str) -> ServedArm | None:
    facts = view.facts.get(SERVING)
    if not isinstance(facts, ServingFacts) or model not in facts.models:
        return None
    arms = facts.models[model].arms
    return next((arm for arm in arms if arm.variant == "champion"), arms[0] if arms else None)


def _ms(value: float | None) -> str:
    return "no end" if value is None else f"{value:.3g} ms"


def _said(setting: Batching) -> str:
    threads = f"{setting.intra_op_threads} thread" + "s" * (setting.intra_op_threads > 1)
    spinning = ", spinning" * (setting.intra_op_threads > 1 and bool(setting.allow_spinning))
    wait = f", waiting up to {setting.max_wait_ms:g} ms" if setting.max_wait_ms else ""
    return f"up to {setting.max_batch_size} rows{wait}, {threads}{spinning}"


def make(context: PluginContext) -> BatchInference | list[BatchInference]:
    """Entry point `batch_inference`; nothing where no predictor is known."""
    if "predictor" not in context.addresses:
        return []
    return BatchInference(context.settings, fetch_from(context))
