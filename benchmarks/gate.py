"""The gate: may a candidate version meet live traffic beside, or instead of, the champion?

A version is accepted only if every comparison shows that it is not worse than the champion by more
than the margins of ``settings.gate``; one shown to be worse rejects it; anything that could not be
shown, or not be measured, is inconclusive and keeps it out. What passes here has not won: that is
for the trial on live traffic to find out.

Measured are: loading in a process of its own (a model that crashes or hangs does so there), its
memory, its answers to the evaluation rows, and then, in turns with the champion in this process,
its latency and throughput. ``python -m benchmarks.gate --help`` runs it on files.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks import gate_checks as checks
from benchmarks.arrivals import FloatArray
from benchmarks.comparisons import Outcome
from benchmarks.gate_records import (
    ArmReport,
    Comparison,
    Conditions,
    GateResult,
    GateVerdict,
    conclude,
)
from benchmarks.gate_timing import Arm, Bench
from benchmarks.inprocess import OnnxRunner, bind
from benchmarks.measures import Measure, Reading, Unavailable, latency_measures
from benchmarks.memory import MemoryFault, MemoryProbe, MemoryUse, NoMemoryUse
from benchmarks.power import PowerMeter, find_sensor
from benchmarks.quality import AnyArray, Predictions, QualityMetric, metric_for, predict
from config.clock import Clock
from config.errors import InputError
from config.settings import GateSettings
from registry.evaluation import EvaluationData
from registry.onnx_files import open_session
from registry.records import ModelFile

__all__ = ["GateResult", "GateRules", "GateVerdict", "run_gate", "worth_repeating"]

REPEAT_FACTOR = 3
_TIMING = {"latency_p95", "throughput"}


@dataclass(frozen=True, slots=True)
class GateRules:
    """What the gate asks for.

    Attributes:
        settings: margins, sample sizes and error rate.
        accuracy_threshold: least accuracy (or F1) of a version without a champion to compare with.
        metric: the quality metric; ``None`` chooses by the type of the labels.
        threads: threads of a session, as in serving.
    """

    settings: GateSettings
    accuracy_threshold: float
    metric: QualityMetric | None = None
    threads: int = 1


def run_gate(
    candidate: ModelFile,
    champion: ModelFile | None,
    evaluation: EvaluationData | None,
    *,
    rules: GateRules,
    rng: np.random.Generator,
    clock: Clock,
) -> GateResult:
    """Measure the candidate against the champion and decide.

    Args:
        candidate: the new version's file.
        champion: the served version's file; ``None`` leaves the absolute checks only.
        evaluation: labelled rows; without them quality is an open question.
        rules: margins and sample sizes.
        rng: draws arrivals, the order of blocks and bootstrap rows.
        clock: tells the time.

    Timing that a busy machine left open is measured once more, three times as long. Each of the two
    gates has half of the error rate (Bonferroni 1936), so choosing between them costs nothing.

    Takes about twice ``gate.seconds``, longer for models that take more than 20 ms a request, and
    four times that when it is measured again.
    """
    settings = rules.settings.model_copy(update={"alpha": rules.settings.alpha / 2})
    longer = {
        "seconds": settings.seconds * REPEAT_FACTOR,
        "samples": settings.samples * REPEAT_FACTOR,
    }

    def once(used: GateSettings) -> GateResult:
        here = replace(rules, settings=used)
        return _run_once(candidate, champion, evaluation, rules=here, rng=rng, clock=clock)

    first = once(settings)
    return once(settings.model_copy(update=longer)) if worth_repeating(first) else first


def worth_repeating(result: GateResult) -> bool:
    """True when timing alone is open: more of it can settle that, but nothing else."""
    undecided = {one.name for one in result.comparisons if one.outcome is Outcome.INCONCLUSIVE}
    return result.verdict is GateVerdict.INCONCLUSIVE and bool(undecided) and undecided <= _TIMING


def _run_once(
    candidate: ModelFile,
    champion: ModelFile | None,
    evaluation: EvaluationData | None,
    *,
    rules: GateRules,
    rng: np.random.Generator,
    clock: Clock,
) -> GateResult:
    started = clock.monotonic()
    arms = [_Side(candidate)] if champion is None else [_Side(candidate), _Side(champion)]
    gate = _Gate(arms, evaluation, rules, rng, clock)
    # Each stage may end the gate: what cannot be loaded is not put under load.
    stages = (gate.check_schema, gate.check_memory, gate.open, gate.check_quality, gate.time)
    for stage in stages:
        if not stage():
            break
    return gate.result(clock.monotonic() - started)


@dataclass(slots=True)
class _Side:
    """One version and what has been measured of it."""

    file: ModelFile
    readings: list[Reading] = field(default_factory=list)
    memory: MemoryUse | None = None
    runner: OnnxRunner | None = None
    latencies_ms: FloatArray = field(default_factory=lambda: np.empty(0))

    def report(self) -> ArmReport:
        return ArmReport(
            model=self.file.model,
            version=self.file.version,
            digest=self.file.digest,
            readings=tuple(self.readings),
            latencies_ms=self.latencies_ms,
        )


class _Gate:
    """The stages of one gate; each returns whether the next one makes sense."""

    def __init__(
        self,
        sides: list[_Side],
        evaluation: EvaluationData | None,
        rules: GateRules,
        rng: np.random.Generator,
        clock: Clock,
    ) -> None:
        self._sides = sides
        self._evaluation = evaluation
        self._rules = rules
        self._settings = rules.settings
        self._rng = rng
        self._clock = clock
        self._comparisons: list[Comparison] = []
        self._conditions = Conditions()

    def check_schema(self) -> bool:
        """Clients of the champion must be able to go on as they are."""
        schemas = [side.file.schema for side in self._sides]
        problem = checks.schema_check(schemas[0], schemas[-1])
        if problem is not None:
            self._comparisons.append(problem)
        return problem is None

    def check_memory(self) -> bool:
        """Load each version in a process of its own; both processes run at once."""
        rows = None if self._evaluation is None else self._evaluation.inputs
        try:
            requests = [_one_request(side.file, rows) for side in self._sides]
        except InputError as error:
            return self._stop(checks.open_question("evaluation", "", str(error)))
        with ExitStack() as stack:
            probes = [
                stack.enter_context(MemoryProbe(side.file.path, request))
                for side, request in zip(self._sides, requests, strict=True)
            ]
            results = [probe.result() for probe in probes]
        return self._judge_memory(results)

    def _judge_memory(self, results: list[MemoryUse | NoMemoryUse]) -> bool:
        for number, (side, result) in enumerate(zip(self._sides, results, strict=True)):
            if isinstance(result, MemoryUse):
                side.memory = result
                side.readings.append(Measure("memory", result.serving_mb, "MB"))
                continue
            side.readings.append(Unavailable("memory", "MB", result.reason))
            if result.fault is not MemoryFault.UNMEASURED:
                what = f"version {side.file.version} could not be loaded: {result.reason}"
                return self._stop(
                    checks.refused("loading", what)
                    if number == 0
                    else checks.open_question("the champion", "", what)
                )
        return True

    def open(self) -> bool:
        """Open both versions here, bound to the evaluation rows."""
        rows = None if self._evaluation is None else self._evaluation.inputs
        for side in self._sides:
            session = open_session(side.file.path, self._rules.threads)
            side.runner = OnnxRunner(session, side.file.schema, rows)
        return True

    def check_quality(self) -> bool:
        """Answer every evaluation row; errors of the candidate end it here."""
        if self._evaluation is None:
            return self._answers_at_all()
        labels = self._evaluation.labels
        metric = self._rules.metric or metric_for(labels)
        arms = [predict(_ready(side), classes=metric.higher_is_better) for side in self._sides]
        labels = labels[: arms[0].failed.size]
        for side, predictions in zip(self._sides, arms, strict=True):
            side.readings.append(checks.quality_reading(metric, predictions, labels))
        if arms[0].failures:
            return self._stop(_errors(arms[0]))
        self._conditions = replace(self._conditions, evaluation_rows=int(labels.size))
        self._comparisons.append(self._compare_quality(metric, arms, labels))
        return True

    def _compare_quality(
        self, metric: QualityMetric, arms: list[Predictions], labels: AnyArray
    ) -> Comparison:
        if len(arms) == 1:
            reading = self._sides[0].readings[-1]
            return checks.quality_floor(reading, metric, self._rules.accuracy_threshold)
        return checks.quality_check(metric, (arms[0], arms[1]), labels, self._settings, self._rng)

    def _answers_at_all(self) -> bool:
        """Without evaluation data: one request of zeros, whose answer nobody can judge."""
        self._comparisons.append(
            checks.open_question("accuracy", "share", "the version has no evaluation data")
        )
        for side in self._sides:
            predictions = predict(_ready(side), classes=False)
            if predictions.failures:
                why = f"a request of zeros failed ({predictions.first_error})"
                return self._stop(checks.open_question("latency", "ms", why))
        return True

    def time(self) -> bool:
        """Latency, throughput and power, in turns."""
        sensor = find_sensor()
        arms = [Arm(_ready(side), PowerMeter(sensor, self._clock)) for side in self._sides]
        bench = Bench(self._settings, self._rng, self._clock)
        champion = arms[1] if len(arms) > 1 else None
        latency = bench.latency(arms[0], champion)
        comparison = checks.latency_check(latency)
        self._comparisons.append(comparison)
        for side, arm in zip(self._sides, arms, strict=True):
            side.latencies_ms = arm.latencies_ms
            side.readings.extend(latency_measures(arm.latencies_ms))
        self._throughput(bench, arms, hopeless=comparison.outcome is Outcome.FAIL)
        self._compare_memory()
        for side, arm in zip(self._sides, arms, strict=True):
            side.readings.append(arm.power.reading())
        lags = np.concatenate([block.client_lag_ms for arm in arms for block in arm.blocks])
        self._conditions = replace(
            self._conditions,
            offered_rate=latency.rate,
            block_order=latency.order,
            samples=int(arms[0].latencies_ms.size),
            client_lag_p99_ms=float(np.quantile(lags, 0.99)),
        )
        return True

    def _throughput(self, bench: Bench, arms: list[Arm], *, hopeless: bool) -> None:
        objective = self._settings.latency_objective_ms
        readings: list[Reading] = []
        for side, arm in zip(self._sides, arms, strict=True):
            if hopeless and bench.search_seconds(arm) > self._settings.seconds:
                reason = "the search was left out: the version is refused for its latency"
                reading: Reading = Unavailable("throughput", "requests/s", reason)
            else:
                reading = checks.throughput_reading(bench.throughput(arm), objective)
            side.readings.append(reading)
            readings.append(reading)
        if len(arms) == 1 or hopeless:
            return
        wanted = trials = None
        if isinstance(readings[1], Measure):
            wanted = checks.required_rate(readings[1].value, self._settings)
            if isinstance(readings[0], Measure):
                found = (readings[0].value, readings[1].value)
                rate = checks.tried_rate(wanted, bench.quick_rate, found)
                trials = bench.trials(arms[0], arms[1], rate)
        self._comparisons.append(
            checks.throughput_check((readings[0], readings[1]), wanted, trials)
        )

    def _compare_memory(self) -> None:
        uses = [side.memory for side in self._sides]
        if None in uses:
            reasons = [str(side.readings[0]) for side in self._sides if side.memory is None]
            self._comparisons.append(checks.open_question("memory", "MB", reasons[0]))
        elif len(uses) == 2 and uses[0] is not None and uses[1] is not None:
            self._comparisons.append(checks.memory_check(uses[0], uses[1], self._settings))

    def _stop(self, comparison: Comparison) -> bool:
        self._comparisons.append(comparison)
        return False

    def result(self, seconds: float) -> GateResult:
        """The verdict over everything compared so far."""
        comparisons = tuple(self._comparisons)
        verdict, reason = conclude(comparisons)
        reports = [side.report() for side in self._sides]
        return GateResult(
            verdict=verdict,
            reason=reason,
            candidate=reports[0],
            champion=reports[1] if len(reports) > 1 else None,
            comparisons=comparisons,
            conditions=replace(self._conditions, seconds=seconds),
        )


def _one_request(file: ModelFile, rows: AnyArray | None) -> dict[str, AnyArray]:
    """The first request of the evaluation rows, or one of zeros."""
    first = file.schema.inputs[0]
    size = (first.shape[0] if first.shape else None) or 1
    bound = bind(file.schema, rows)
    return {name: values[:size] for name, values in bound.items()} if rows is not None else bound


def _ready(side: _Side) -> OnnxRunner:
    if side.runner is None:
        raise RuntimeError("a stage of the gate ran before the sessions were opened")
    return side.runner


def _errors(predictions: Predictions) -> Comparison:
    return checks.refused(
        "errors",
        f"{predictions.failures} of {predictions.failed.size} evaluation rows gave no usable "
        f"answer (the first: {predictions.first_error})",
    )


if __name__ == "__main__":
    from benchmarks.gate_command import main

    sys.exit(main())
