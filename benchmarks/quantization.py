"""Quantises a model's weights to 8 bits and measures what that changes against the original.

Dynamic quantisation (weights as int8, activations scaled as they come) needs no calibration data.
It can cost accuracy, so the small model is kept only if labelled rows show that it is no worse than
a margin allows; without such rows nothing is shown, and the original stays. Size and latency are
reported beside it, for they are what quantisation is for.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.inprocess import OnnxRunner
from benchmarks.quality import correct, metric_for, predict, score
from config.errors import InputError, ModelRefused
from registry.evaluation import EvaluationData
from registry.onnx_files import inspect, open_session, sha256
from registry.records import ModelFile

_RUNS = 200
_WARM_RUNS = 20


@dataclass(frozen=True, slots=True)
class Weighed:
    """One model as measured.

    Attributes:
        bytes: size of its file.
        latency_ms: median of single requests.
        quality: its score on the labelled rows; None without any.
    """

    bytes: int
    latency_ms: float
    quality: float | None


@dataclass(frozen=True, slots=True)
class Quantization:
    """What became of a model.

    Attributes:
        path: the file to ship: the quantised one, or the original.
        digest: its SHA-256.
        kept: the quantised one is shipped.
        reason: why, in a sentence.
        small: None where the model could not be quantised at all.
        metric: name of the quality.
    """

    path: Path
    digest: str
    kept: bool
    reason: str
    original: Weighed
    small: Weighed | None = None
    metric: str = ""


def quantize(
    file: ModelFile, evaluation: EvaluationData | None, to: Path, *, margin: float, threads: int = 1
) -> Quantization:
    """Write a quantised copy to `to` and say which of the two to ship.

    Args:
        file: the original, checked.
        evaluation: labelled rows to compare on.
        to: where the copy goes.
        margin: most quality it may lose: points of accuracy, or a share of an error such as RMSE.
        threads: ONNX Runtime threads.

    Raises:
        ModelRefused: the original itself does not run.
        InputError: the rows do not fit it.
    """
    whole = _weigh(file.path, evaluation, threads)
    metric = metric_for(evaluation.labels).value if evaluation is not None else ""
    trouble = _write(file, to)
    if trouble:
        return Quantization(file.path, file.digest, False, trouble, whole, None, metric)
    try:
        small = _weigh(to, evaluation, threads)
    except (ModelRefused, InputError) as error:
        reason = f"the quantised model does not run: {error}"
        return Quantization(file.path, file.digest, False, reason, whole, None, metric)
    kept, reason = _judge(whole, small, metric, margin, evaluation)
    if kept:
        return Quantization(to, sha256(to), True, reason, whole, small, metric)
    return Quantization(file.path, file.digest, False, reason, whole, small, metric)


def original(
    file: ModelFile, evaluation: EvaluationData | None, *, threads: int = 1
) -> Quantization:
    """The same record for a model that is shipped as it is.

    Raises:
        ModelRefused: it does not run.
        InputError: the rows do not fit it.
    """
    weighed = _weigh(file.path, evaluation, threads)
    metric = metric_for(evaluation.labels).value if evaluation is not None else ""
    reason = "shipped as it is: quantize is off for this target"
    return Quantization(file.path, file.digest, False, reason, weighed, None, metric)


def _write(file: ModelFile, to: Path) -> str:
    """Quantise; return why it was not possible, or nothing."""
    # Together they take a second to import, and only devices need them.
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    # It recommends a pre-processing step to the root logger, which models that small never need.
    logging.getLogger().addFilter(_quiet)
    try:
        quantize_dynamic(str(file.path), str(to), weight_type=QuantType.QInt8)
        schema = inspect(to)
    except Exception as error:  # noqa: BLE001 - its errors share no base class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"it cannot be quantised ({lines[0][:200]})"
    finally:
        logging.getLogger().removeFilter(_quiet)
    if schema != file.schema:
        return "quantised, it takes or gives other tensors"
    if to.stat().st_size >= file.path.stat().st_size:
        return "quantised, it is no smaller; it holds no weights worth it"
    return ""


def _quiet(record: logging.LogRecord) -> bool:
    return "pre-process" not in record.getMessage()


def _weigh(path: Path, evaluation: EvaluationData | None, threads: int) -> Weighed:
    schema, session = inspect(path), open_session(path, threads)
    runner = OnnxRunner(session, schema, evaluation.inputs if evaluation is not None else None)
    return Weighed(path.stat().st_size, _latency_ms(runner), _quality(runner, evaluation))


def _latency_ms(runner: OnnxRunner) -> float:
    for index in range(_WARM_RUNS):
        runner.answer(index)
    taken = np.empty(_RUNS)
    for index in range(_RUNS):
        began = time.perf_counter()
        runner.answer(index)
        taken[index] = time.perf_counter() - began
    return float(np.median(taken) * 1000)


def _quality(runner: OnnxRunner, evaluation: EvaluationData | None) -> float | None:
    if evaluation is None:
        return None
    metric = metric_for(evaluation.labels)
    labels = evaluation.labels[: runner.rows]
    predictions = predict(runner, classes=metric.higher_is_better)
    if metric.higher_is_better:
        return float(np.mean(correct(predictions, labels)))
    if predictions.failures:
        raise InputError(f"{predictions.failures} rows have no answer: {predictions.first_error}")
    return score(metric, predictions.values, labels)


def _judge(
    original: Weighed,
    small: Weighed,
    metric: str,
    margin: float,
    evaluation: EvaluationData | None,
) -> tuple[bool, str]:
    if evaluation is None or original.quality is None or small.quality is None:
        return False, "without labelled rows nothing shows that quantising keeps its quality"
    told = f"{metric} {small.quality:.4f} against {original.quality:.4f}"
    if metric_for(evaluation.labels).higher_is_better:
        lost = original.quality - small.quality
    else:
        lost = (small.quality - original.quality) / max(original.quality, 1e-12)
    if lost > margin:
        return False, f"quantised it loses too much: {told}"
    saved = 1 - small.bytes / original.bytes
    return True, (
        f"quantised to 8 bits: {told}, {saved:.0%} smaller, "
        f"{small.latency_ms:.3f} ms against {original.latency_ms:.3f} ms"
    )
