"""What `cpu_optimization` says and proposes, once the workers are sized. Pure."""

from __future__ import annotations

from config.performance_settings import CpuSettings
from optimizers.advice import advice_id
from optimizers.performance.cpu_sizing import BUSY, SERVING, Sizing
from optimizers.performance.trigger import Sustained
from optimizers.targets.replicas_facts import KNOB, TARGET
from registry.agent_records import (
    Change,
    Direction,
    Estimate,
    Finding,
    Priority,
    Proposal,
    Severity,
)

TYPE = "cpu_optimization"
SCALE_OUT, SCALE_IN = "scale_out", "scale_in"
SUBJECT = "predictor"
_GUARDRAILS = (f"inference_latency_p99_ms@{SERVING}", f"error_rate@{SERVING}")
_LATENCY = f"inference_latency_ms@{SERVING}"
_WORKERS = "workers"
# What turns the predictor's knobs or cores changes the same numbers.
_CONFLICTS = (f"target:{SERVING}", "target:processes")
# From here on a worker has no time left, and more of them would take on more: percent of a core.
_SATURATED = 95.0


def too_busy(
    at: float, sizing: Sizing, settings: CpuSettings, whose: str, seen: Sustained
) -> Finding:
    """Processor or workers are too busy; the text ends with what is done, or why nothing is."""
    no = why_not(sizing, settings.target_cpu)
    text = (
        f"{whose} {seen.last:.0f} % busy, above {settings.cpu_percent:g} % in {seen.met} of "
        f"{seen.looks} looks, with {_workers(sizing.facts.running)}; "
        f"{no or _workers(out_to(sizing)) + ' would be right'}"
    )
    return _finding(SCALE_OUT, text, at, sizing)


def too_many(at: float, sizing: Sizing, settings: CpuSettings) -> Finding:
    """The workers idle, and fewer would do."""
    fewer = sizing.facts.running - 1
    text = (
        f"the predictor's {_workers(sizing.facts.running)} are {sizing.busy:.0f} % busy, below "
        f"{settings.idle_cpu_percent:g} % for long; {_workers(fewer)} would be "
        f"{100.0 * sizing.load.cores / fewer:.0f} %"
    )
    return _finding(SCALE_IN, text, at, sizing)


def scale_out(finding: Finding, sizing: Sizing, settings: CpuSettings) -> Proposal:
    """More workers, judged by how busy each is; saturated ones by latency, for they stay busy."""
    to = out_to(sizing)
    most = 1.0 - sizing.facts.running / to
    saturated = sizing.busy >= _SATURATED
    # What saturated workers did not get to do is not known: it may fill the new ones as well.
    gain = Estimate(most / 2.0 if saturated else most, 0.0, most)
    return _proposal(finding, sizing, settings, to, gain, _LATENCY if saturated else BUSY)


def scale_in(finding: Finding, sizing: Sizing, settings: CpuSettings) -> Proposal:
    """One worker fewer: that much is sure, so what is judged are the guardrails.

    The memory that it frees would be the goal, but memory creeps, and a metric that creeps takes
    long to be told from one that was changed.
    """
    share = 1.0 / sizing.facts.running
    to = sizing.facts.running - 1
    return _proposal(finding, sizing, settings, to, Estimate(share, 0.0, share), _WORKERS)


def out_to(sizing: Sizing) -> int:
    """As the model says; at least one more where what was measured is only what got through."""
    to = sizing.choice.workers
    if sizing.busy >= _SATURATED:
        to = max(to, sizing.facts.running + 1)
    return min(to, sizing.ceiling.workers)


def why_not(sizing: Sizing, target_cpu: float) -> str:
    """Why no worker is added; empty when one is."""
    if out_to(sizing) > sizing.facts.running:
        return ""
    if sizing.busy <= target_cpu:
        return (
            f"but the predictor's are only {sizing.busy:.0f} % busy: others use the processor, "
            "and more workers would not help"
        )
    return f"no worker is added: {sizing.ceiling.by}"


def _finding(rule: str, text: str, at: float, sizing: Sizing) -> Finding:
    metrics = {
        BUSY: sizing.busy,
        "workers": float(sizing.facts.running),
        "throughput_rps": sizing.load.rate,
        "service_ms": sizing.load.service_s * 1000.0,
    }
    if sizing.host is not None:
        metrics["cpu_percent"] = sizing.host
    return Finding(
        id=f"{TYPE}:{TARGET}:{rule}",
        rule=rule,
        target=TARGET,
        subject=SUBJECT,
        severity=Severity.WARNING if rule == SCALE_OUT else Severity.INFO,
        text=text,
        at=at,
        metrics=metrics,
    )


def _proposal(
    finding: Finding, sizing: Sizing, settings: CpuSettings, to: int, gain: Estimate, goal: str
) -> Proposal:
    out = to > sizing.facts.running
    return Proposal(
        type=TYPE,
        target=TARGET,
        advice_id=advice_id(TYPE, TARGET, KNOB, to),
        key=f"{TYPE}:{KNOB}:{int(finding.at)}",
        priority=Priority.HIGH if out else Priority.LOW,
        description=f"Scale {'out' if out else 'in'} from {_workers(sizing.facts.running)} to {to}",
        parameters={
            "action": SCALE_OUT if out else SCALE_IN,
            "target_cpu": settings.target_cpu,
            "workers": to,
            "predicted_cpu_percent": round(100.0 * sizing.load.cores / to, 1),
            "by": sizing.choice.by,
        },
        expected=gain,
        risk=settings.risk,
        goal_metric=goal,
        goal_direction=Direction.MINIMIZE,
        reversible=True,
        change=Change(KNOB, sizing.facts.written, to),
        guardrails=_GUARDRAILS,
        conflicts=_CONFLICTS,
        finding_ids=(finding.id,),
    )


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"
