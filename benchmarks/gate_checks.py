"""The gate's comparisons, one function each: numbers in, verdict and sentence out. Pure."""

from __future__ import annotations

import numpy as np

from benchmarks.comparisons import (
    Bounds,
    IntArray,
    Outcome,
    bootstrap_bounds,
    judge_excess,
    paired_proportion_bounds,
)
from benchmarks.gate_records import Comparison
from benchmarks.gate_timing import LatencyResult, Trials
from benchmarks.measures import Measure, Reading, Unavailable, share_measure
from benchmarks.memory import MemoryUse
from benchmarks.quality import AnyArray, Predictions, QualityMetric, correct, score
from benchmarks.throughput import Sustained
from config.settings import GateSettings
from registry.records import ModelSchema


def open_question(name: str, unit: str, why: str) -> Comparison:
    """A comparison that could not be made, which keeps the candidate out."""
    sentence = f"{name} could not be compared: {why}"
    return Comparison(name, unit, None, None, None, None, Outcome.INCONCLUSIVE, sentence)


def refused(name: str, why: str) -> Comparison:
    """A plain failure, without numbers to compare."""
    return Comparison(name, "", None, None, None, None, Outcome.FAIL, why)


def schema_check(candidate: ModelSchema, champion: ModelSchema) -> Comparison | None:
    """A refusal if the candidate cannot stand in for the champion without clients noticing."""
    if candidate == champion:
        return None
    return refused(
        "schema",
        f"the schema {candidate.to_json()} differs from the champion's {champion.to_json()}",
    )


def quality_reading(metric: QualityMetric, predictions: Predictions, labels: AnyArray) -> Reading:
    """The metric on all rows; unanswered rows count as wrong, and leave an error unknown."""
    if metric is QualityMetric.ACCURACY:
        right = correct(predictions, labels)
        return share_measure(metric.value, int(right.sum()), right.size)
    if predictions.failures:
        reason = f"{predictions.failures} of {labels.size} rows gave no usable answer"
        return Unavailable(metric.value, metric.unit, reason)
    return Measure(metric.value, score(metric, predictions.values, labels), metric.unit)


def quality_floor(reading: Reading, metric: QualityMetric, least: float) -> Comparison:
    """Without a champion: is a score at least what is asked of any model?"""
    if isinstance(reading, Unavailable):
        return open_question(reading.name, reading.unit, reading.reason)
    if not metric.higher_is_better:
        sentence = f"{metric.value} is {reading.value:.4g} (no champion to compare with)"
        return Comparison(
            metric.value, metric.unit, reading.value, None, None, None, Outcome.PASS, sentence
        )
    good = reading.value >= least
    sentence = (
        f"{metric.value} is {reading.value:.3f} "
        f"{'and at least' if good else 'where at least'} {least:.3f} is asked for"
    )
    return Comparison(
        metric.value,
        metric.unit,
        reading.value,
        least,
        None,
        None,
        Outcome.PASS if good else Outcome.FAIL,
        sentence,
    )


def quality_check(
    metric: QualityMetric,
    arms: tuple[Predictions, Predictions],
    labels: AnyArray,
    settings: GateSettings,
    rng: np.random.Generator,
) -> Comparison:
    """Candidate against champion, row by row on the same evaluation data.

    The margin is absolute for scores and, since an error has the unit of the label, a share of
    the champion's for errors.
    """
    readings = [quality_reading(metric, arm, labels) for arm in arms]
    for who, reading in zip(("candidate", "champion"), readings, strict=True):
        if isinstance(reading, Unavailable):
            return open_question(metric.value, metric.unit, f"{who}: {reading.reason}")
    if labels.size < settings.min_evaluation_rows:
        return open_question(
            metric.value,
            metric.unit,
            f"{labels.size} labelled rows are fewer than the {settings.min_evaluation_rows} "
            "that gate.min_evaluation_rows asks for",
        )
    mine, theirs = (r.value for r in readings if isinstance(r, Measure))
    excess = _quality_excess(metric, arms, labels, settings.alpha, rng)
    scale = 1.0 if metric.higher_is_better else theirs
    margin = settings.accuracy_margin * scale
    outcome = judge_excess(excess, margin)
    sentence = (
        f"{metric.value} {mine:.3f} against the champion's {theirs:.3f} on {labels.size} rows "
        f"{_worse(excess, margin, outcome, metric.unit, 3)}"
    )
    return Comparison(metric.value, metric.unit, mine, theirs, excess, margin, outcome, sentence)


def _quality_excess(
    metric: QualityMetric,
    arms: tuple[Predictions, Predictions],
    labels: AnyArray,
    alpha: float,
    rng: np.random.Generator,
) -> Bounds:
    candidate, champion = arms
    if metric is QualityMetric.ACCURACY:
        gain = paired_proportion_bounds(
            correct(candidate, labels), correct(champion, labels), alpha
        )
        return Bounds(-gain.estimate, -gain.high, -gain.low)
    sign = -1.0 if metric.higher_is_better else 1.0

    def excess(rows: IntArray) -> float:
        mine = score(metric, candidate.values[rows], labels[rows])
        return sign * (mine - score(metric, champion.values[rows], labels[rows]))

    return bootstrap_bounds(excess, labels.size, alpha, rng)


def latency_check(result: LatencyResult) -> Comparison:
    """p95 of both arms; without a champion, that there is one."""
    if result.excess is None or result.champion_ms is None or result.margin_ms is None:
        sentence = f"p95 is {result.candidate_ms:.2f} ms at {result.rate:.0f} requests/s"
    else:
        sentence = (
            f"p95 {result.candidate_ms:.2f} ms against the champion's {result.champion_ms:.2f} ms "
            f"{_worse(result.excess, result.margin_ms, result.outcome, 'ms', 2)}"
        )
    return Comparison(
        "latency_p95",
        "ms",
        result.candidate_ms,
        result.champion_ms,
        result.excess,
        result.margin_ms,
        result.outcome,
        sentence,
    )


def required_rate(champion_rate: float, settings: GateSettings) -> float:
    """The requests/s a candidate has to sustain beside a champion that sustains so many.

    The relative margin allows some less. Where a request takes microseconds that would forbid a
    slow-down nobody can notice, so whatever the latency margin allows per request is allowed here
    too.
    """
    relative = (1 - settings.throughput_margin_relative) * champion_rate
    return min(relative, 1 / (1 / champion_rate + settings.latency_margin_ms / 1e3))


def tried_rate(wanted: float, quick: float, found: tuple[float, float]) -> float:
    """The rate to try both arms at: ``wanted``, or more where a trial at that would take long.

    Keeping up with a higher rate shows it for the lower one too. Raised at most to ``quick``, and
    to half of what the slower arm's search found.
    """
    return max(wanted, min(quick, min(found) / 2))


def throughput_reading(found: Sustained | None, objective_ms: float) -> Reading:
    """The search's result with the bracket it ended in."""
    if found is None:
        reason = f"no rate keeps p99 within {objective_ms:g} ms"
        return Unavailable("throughput", "requests/s", reason)
    return Measure("throughput", found.rate, "requests/s", found.rate, found.limit)


def throughput_check(
    readings: tuple[Reading, Reading], wanted: float | None, trials: Trials | None
) -> Comparison:
    """Candidate against champion, both tried at the rate the candidate has to sustain."""
    candidate, champion = readings
    if isinstance(champion, Unavailable) or wanted is None:
        return _without_limit(candidate, champion)
    if isinstance(candidate, Unavailable) or trials is None:
        reason = candidate.reason if isinstance(candidate, Unavailable) else "it was not tried"
        return Comparison(
            "throughput",
            "requests/s",
            None,
            champion.value,
            None,
            champion.value - wanted,
            Outcome.FAIL,
            f"throughput: {reason}, the champion sustains {champion.value:,.0f}/s",
        )
    outcome = trials.outcome
    if outcome is Outcome.FAIL and trials.rate > wanted:
        # More was tried than is asked for; failing at that refutes nothing.
        outcome = Outcome.INCONCLUSIVE
    sentence = (
        f"{_keeps(outcome)} {trials.rate:,.0f} requests/s where {wanted:,.0f} are asked for "
        f"({trials.candidate} of {trials.count} trials, champion {trials.champion}; "
        f"limits found: {candidate.value:,.0f} and {champion.value:,.0f})"
    )
    return Comparison(
        "throughput",
        "requests/s",
        candidate.value,
        champion.value,
        None,
        champion.value - wanted,
        outcome,
        sentence,
    )


def _without_limit(candidate: Reading, champion: Reading) -> Comparison:
    """The champion misses the objective itself: a candidate that meets it is no worse."""
    if isinstance(candidate, Measure):
        sentence = f"sustains {candidate.value:,.0f} requests/s where the champion {champion}"
        return Comparison(
            "throughput", "requests/s", candidate.value, None, None, None, Outcome.PASS, sentence
        )
    return open_question("throughput", "requests/s", f"for both versions {candidate.reason}")


def _keeps(outcome: Outcome) -> str:
    return {
        Outcome.PASS: "keeps up with",
        Outcome.FAIL: "does not keep up with",
        Outcome.INCONCLUSIVE: "keeps up only now and then with",
    }[outcome]


def memory_check(candidate: MemoryUse, champion: MemoryUse, settings: GateSettings) -> Comparison:
    """MB of unique set while serving; the larger of both margins counts."""
    mine, theirs = candidate.serving_mb, champion.serving_mb
    margin = max(settings.memory_margin_relative * theirs, settings.memory_margin_mb)
    excess = Bounds(mine - theirs, mine - theirs, mine - theirs)
    outcome = judge_excess(excess, margin)
    sentence = (
        f"memory {mine:.1f} MB against the champion's {theirs:.1f} MB "
        f"({margin:.0f} MB more allowed)"
    )
    return Comparison("memory", "MB", mine, theirs, excess, margin, outcome, sentence)


def _worse(excess: Bounds, margin: float, outcome: Outcome, unit: str, digits: int) -> str:
    """The bounds in words: what was shown, against what is allowed."""

    def number(value: float) -> str:
        return f"{value:.{digits}f}"

    allowed = f"{number(margin)} {unit} allowed"
    match outcome:
        case Outcome.PASS:
            return f"(worse by at most {number(max(excess.high, 0.0))}, {allowed})"
        case Outcome.FAIL:
            return f"(worse by at least {number(excess.low)}, {allowed})"
        case Outcome.INCONCLUSIVE:
            return (
                f"(undecided: between {number(excess.low)} and {number(excess.high)} worse, "
                f"{allowed})"
            )
