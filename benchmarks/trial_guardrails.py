"""The guardrails of a trial at one look: the split, errors, slow answers, missing values.

Each is an e-process: at any look, and however many there are, evidence at or over 1 / alpha means
that what is guarded broke, with chance alpha of a false alarm over the whole trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.significance import e_process, sample_ratio
from benchmarks.significance.e_process import Stage, e_value
from benchmarks.trial_metric import Arms, moments
from registry.records import ArmCounts, TrialVerdict, Variant
from registry.trial_config import ABTestConfig, GuardrailKind

LABELS = "labels"
"""Key of the evidence that values of the metric arrive for one arm more than for the other."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A guardrail that spoke: how the trial ends, and why."""

    verdict: TrialVerdict
    reason: str


@dataclass(frozen=True, slots=True)
class Watch:
    """E-values and the thresholds they stop at, by guardrail, and the first alarm if any."""

    evidence: dict[str, float]
    thresholds: dict[str, float]
    alarm: Alarm | None


def watch_guardrails(config: ABTestConfig, arms: Arms) -> Watch:
    """Weigh the evidence of every guardrail of this trial, from cumulative counts."""
    evidence: dict[str, float] = {}
    thresholds: dict[str, float] = {}
    alarm: Alarm | None = None
    for key, alpha in _levels(config).items():
        evidence[key] = e_value(_log_evidence(key, config, arms))
        thresholds[key] = 1 / alpha
        if alarm is None and evidence[key] >= thresholds[key]:
            alarm = _alarm(key, config, arms, evidence[key])
    return Watch(evidence, thresholds, alarm)


def _levels(config: ABTestConfig) -> dict[str, float]:
    """Error level by guardrail, in the order in which they are believed.

    A split that is off is looked at first: the others take the ordered split for granted. The
    split of requests and the split of values share the level of the sample ratio.
    """
    levels: dict[str, float] = {}
    ratio = config.guardrail(GuardrailKind.SAMPLE_RATIO)
    if ratio is not None:
        levels[GuardrailKind.SAMPLE_RATIO.value] = ratio.alpha / 2
    for kind in (GuardrailKind.ERRORS, GuardrailKind.LATENCY):
        rail = config.guardrail(kind)
        if rail is not None:
            levels[kind.value] = rail.alpha
    if ratio is not None:
        levels[LABELS] = ratio.alpha / 2
    return levels


def _log_evidence(key: str, config: ABTestConfig, arms: Arms) -> float:
    champion, challenger = (
        _events(key, arms[variant]) for variant in (Variant.CHAMPION, Variant.CHALLENGER)
    )
    stages = [Stage(config.traffic_split, champion, challenger)]
    if key == GuardrailKind.ERRORS:
        return e_process.log_evidence(stages, e_process.ERRORS)
    if key == GuardrailKind.LATENCY:
        return e_process.log_evidence(stages, e_process.SLOW_ANSWERS)
    return sample_ratio.log_evidence(stages)


def _events(key: str, counts: ArmCounts) -> int:
    if key == GuardrailKind.ERRORS:
        return counts.errors
    if key == GuardrailKind.LATENCY:
        return counts.over_objective
    return counts.metric.count if key == LABELS else counts.exposures


def _alarm(key: str, config: ABTestConfig, arms: Arms, evidence: float) -> Alarm:
    champion, challenger = arms[Variant.CHAMPION], arms[Variant.CHALLENGER]
    mine, other = _events(key, challenger), _events(key, champion)
    level = _levels(config)[key]
    proof = f"evidence {evidence:.3g}, alarm at {1 / level:.0f}"
    if key in (GuardrailKind.SAMPLE_RATIO, LABELS):
        things = f"values of {config.success_metric}" if key == LABELS else "requests"
        reason = (
            f"the challenger has {mine / (mine + other):.2%} of the {mine + other} {things} where "
            f"{config.traffic_split:.2%} was ordered ({proof}), so the arms cannot be compared"
        )
        return Alarm(TrialVerdict.INVALIDATED, reason)
    rail = config.guardrail(GuardrailKind.LATENCY)
    slow = f"took longer than {rail.objective_ms:g} ms" if rail is not None else ""
    what = "failed" if key == GuardrailKind.ERRORS else slow
    reason = (
        f"{_share(mine, challenger)} of the challenger's requests {what} against "
        f"{_share(other, champion)} of the champion's "
        f"({mine} of {challenger.exposures}, {other} of {champion.exposures}; {proof})"
    )
    return Alarm(TrialVerdict.GUARDRAIL, reason)


def _share(events: int, counts: ArmCounts) -> str:
    return f"{events / counts.exposures:.2%}" if counts.exposures else "an unknown share"


def flaw(arms: Arms, earlier: Arms | None) -> str | None:
    """Why these counts cannot be right, or None; `earlier` holds those of the look before."""
    for variant, counts in arms.items():
        problem = _flaw_of(counts, None if earlier is None else earlier.get(variant))
        if problem is not None:
            return f"the counts of the {variant} cannot be right: {problem}"
    return None


def _flaw_of(counts: ArmCounts, before: ArmCounts | None) -> str | None:
    metric = counts.metric
    whole = (counts.exposures, counts.errors, counts.over_objective, metric.count)
    if not all(math.isfinite(number) and number >= 0 for number in whole):
        return "a count is negative or not a number"
    if max(counts.errors, counts.over_objective) > counts.exposures:
        return f"more errors or slow answers than its {counts.exposures} requests"
    if before is not None and (
        counts.exposures < before.exposures or metric.count < before.metric.count
    ):
        return "they are lower than at the look before"
    return moments(counts).flaw
