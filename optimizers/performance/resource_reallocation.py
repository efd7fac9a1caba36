"""`resource_reallocation`: the processor to what a missed goal waits for, from what competes.

Trigger: the performance score was below `score` in k of the last n looks, and the goal that costs
it most is one of time: a latency, or work done in a time. If that goal is serving's, the predictor
is what limits it; else the named process that waits most for a core, as the kernel counts it.
Nothing is proposed unless it really waits.

Effect, one knob per action, the mildest first: a tenth of the cgroup's weight of what competes, its
niceness, fewer cores for it; last, one ONNX Runtime thread for a model that has hardly any of the
traffic. Taken from are named processes alone, never the predictor, the agent or the servers around
it. Verified by switching the knob to and fro while the goal metric is sampled; undone to exactly
what each thread had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Tools
from optimizers.performance.giving import Move, advice, moves
from optimizers.performance.model_threads import lean_model, thread_move
from optimizers.performance.priors import prior_of
from optimizers.performance.process_effects import ProcessEffects
from optimizers.performance.scarcity import (
    SERVING,
    Missed,
    Shortage,
    low_score,
    missed_goal,
    shortage,
)
from optimizers.plugins import PluginContext
from optimizers.targets.processes_facts import TARGET
from optimizers.view import Study, View
from registry.agent_records import (
    ActionState,
    Estimate,
    Finding,
    Priority,
    Proposal,
    Severity,
)

# What did not help, or was taken back, is not tried again while the view remembers it: a day.
_SPENT = frozenset({ActionState.ROLLED_BACK, ActionState.HANDED_OVER, ActionState.FAILED})
_GUARDRAILS = ("error_rate", "throughput_rps")
_FRESH_S = 300.0
_SLACK_S = 600.0


class ResourceReallocation:
    """Takes from what competes with the process that limits a missed goal."""

    type = "resource_reallocation"
    target = TARGET
    targets = (SERVING,)
    study_fresh_s = 600.0

    def __init__(self, settings: Settings) -> None:
        agent = settings.agent
        self._settings = settings.performance.resource_reallocation
        self._threads = settings.serving.intra_op_threads
        self.prior = prior_of(self._settings)
        # Twice as many samples as pairs, in the time that windows would take.
        every_s = agent.verify_seconds / (2 * agent.verify_samples)
        self.effects: Effects = ProcessEffects(
            samples=agent.verify_samples,
            every_s=every_s,
            alpha=agent.verify_alpha,
            pairs=True,
            switch_settle_s=min(2.0, every_s / 4.0),
        )
        self.deadline_s = agent.settle_seconds + 2.0 * agent.verify_seconds + _SLACK_S

    def detect(self, view: View) -> Sequence[Finding]:
        """The score is low, and the process that the dearest goal depends on waits for a core."""
        score = low_score(view, self._settings, self._settings.score)
        missed = missed_goal(view) if score is not None else None
        short = shortage(view, missed, self._settings.of) if missed is not None else None
        if score is None or missed is None or short is None:
            return []
        goal, limiter = missed.progress.goal, short.limiter
        model = None if self._moves(short, view) else self._lean(missed, view)
        target, subject = (TARGET, limiter.process.name) if model is None else (SERVING, model)
        return [
            Finding(
                id=f"{self.type}:{target}:{subject}",
                rule=self.type,
                target=target,
                subject=subject,
                severity=Severity.WARNING,
                text=(
                    f"the score is {score.last:.0f}, below {self._settings.score:g} in {score.met} "
                    f"of {score.looks} looks; {goal.metric_name} costs it most, and "
                    f"{limiter.process.name} waits for a core {limiter.wait_share:.0%} of its "
                    f"time on its way{advice(short)}"
                ),
                at=view.at,
                metrics={
                    "performance_score": score.last,
                    "process_cpu_percent": limiter.used,
                    "process_wait_percent": limiter.waited,
                },
            )
        ]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """The mildest knob that was not tried in vain."""
        missed = missed_goal(view)
        short = shortage(view, missed, self._settings.of) if missed is not None else None
        if missed is None or short is None:
            return []
        if finding.target == SERVING:
            study = view.study(self.type, finding.subject, self.study_fresh_s)
            possible = [] if study is None else _thread_moves(finding.subject, study)
        else:
            possible = self._moves(short, view)
        return [self._proposal(one, finding, missed, short, view) for one in possible[:1]]

    def study(self, finding: Finding, view: View, tools: Tools, seconds: float) -> JsonValue | None:  # noqa: ARG002 - the seam's
        """Read how the model's batching knob was written, for that is what has to come back."""
        if finding.target != SERVING:
            return {}
        return {"batching": tools.targets[SERVING].read(f"serving/{finding.subject}.batching")}

    def _moves(self, short: Shortage, view: View) -> list[Move]:
        return [one for one in moves(short) if not self._spent(TARGET, one.change.knob, view)]

    def _lean(self, missed: Missed, view: View) -> str | None:
        """A model with threads to spare, unless that was tried in vain."""
        model = lean_model(view, self._threads) if missed.target == SERVING else None
        knob = f"serving/{model}.batching"
        return None if model is None or self._spent(SERVING, knob, view) else model

    def _spent(self, target: str, knob: str, view: View) -> bool:
        tried = (
            one.state in _SPENT and one.proposal.change and one.proposal.change.knob == knob
            for one in view.actions
            if one.proposal.type == self.type
        )
        return (target, knob) in view.held or any(tried)

    def _proposal(
        self, move: Move, finding: Finding, missed: Missed, short: Shortage, view: View
    ) -> Proposal:
        goal, change, on_serving = missed.progress.goal, move.change, finding.target == SERVING
        metric = goal.metric_name
        own = missed.target == finding.target
        guardrails = [
            name if on_serving else f"{name}@{SERVING}"
            for name in _GUARDRAILS
            if missed.target == SERVING and name != metric and _seen(view, name)
        ]
        return Proposal(
            type=self.type,
            target=finding.target,
            advice_id=advice_id(self.type, finding.target, change.knob, str(change.after)),
            key=f"{self.type}:{change.knob}:{int(finding.at)}",
            priority=Priority.MEDIUM,
            description=f"{move.text}: {short.limiter.process.name} waits for a core",
            parameters={"limiter": short.limiter.process.name},
            expected=self._expected(short),
            risk=self.prior.risk,
            goal_metric=metric if own else f"{metric}@{missed.target}",
            goal_direction=goal.direction,
            reversible=True,
            change=change,
            guardrails=tuple(guardrails),
            conflicts=() if own else (f"target:{missed.target}",),
            finding_ids=(finding.id,),
            subject=finding.subject if on_serving else "",
        )

    def _expected(self, short: Shortage) -> Estimate:
        """As believed, but never more than all the waiting there is."""
        most = short.limiter.wait_share
        return Estimate(min(self._settings.expected_improvement, most), 0.0, most)


def _seen(view: View, metric: str) -> bool:
    """What is not seen cannot be guarded."""
    return bool(view.recent(SERVING, metric, _FRESH_S))


def _thread_moves(model: str, study: Study) -> list[Move]:
    found = study.value if isinstance(study.value, Mapping) else {}
    if "batching" not in found:
        return []
    return [thread_move(model, found["batching"])]


def make(context: PluginContext) -> ResourceReallocation:
    """Entry point `resource_reallocation`."""
    return ResourceReallocation(context.settings)
