"""How good a model's answers are on labelled evaluation data.

Accuracy and macro F1 for classes, RMSE and MAE for numbers. Row by row results are kept, so that
two models can be compared on the very same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from config.errors import InputError

if TYPE_CHECKING:
    from benchmarks.inprocess import OnnxRunner

AnyArray = NDArray[Any]
BoolArray = NDArray[np.bool_]

LABEL_NAMES = ("label", "output_label", "class", "predicted_label")


class QualityMetric(StrEnum):
    """A named score on labelled data."""

    ACCURACY = "accuracy"
    F1 = "f1"
    RMSE = "rmse"
    MAE = "mae"

    @property
    def higher_is_better(self) -> bool:
        """True for scores, false for errors."""
        return self in (QualityMetric.ACCURACY, QualityMetric.F1)

    @property
    def unit(self) -> str:
        """A share of rows for scores; errors are in the unit of the label."""
        return "share" if self.higher_is_better else "label units"


@dataclass(frozen=True, slots=True)
class Predictions:
    """One prediction a row; ``failed`` marks rows without a usable answer."""

    values: AnyArray
    failed: BoolArray
    first_error: str | None

    @property
    def failures(self) -> int:
        """Rows that gave an error or a value that is not finite."""
        return int(self.failed.sum())


def metric_for(labels: AnyArray) -> QualityMetric:
    """Accuracy for whole-number, boolean and text labels, RMSE for fractional ones."""
    return QualityMetric.RMSE if labels.dtype.kind == "f" else QualityMetric.ACCURACY


def predict(runner: OnnxRunner, *, classes: bool) -> Predictions:
    """Run a model over all its rows, in batches where it can, row by row where a batch fails.

    Args:
        runner: the model with the evaluation rows.
        classes: whether a class is wanted (the label output, or the largest probability) or a
            number.
    """
    values: list[AnyArray] = []
    failed: list[BoolArray] = []
    first_error: str | None = None
    for start, stop in runner.batches():
        part, bad, error = _predict_range(runner, start, stop, classes=classes)
        values.append(part)
        failed.append(bad)
        first_error = first_error or error
    return Predictions(np.concatenate(values), np.concatenate(failed), first_error)


def _predict_range(
    runner: OnnxRunner, start: int, stop: int, *, classes: bool
) -> tuple[AnyArray, BoolArray, str | None]:
    try:
        values = _answers(runner, start, stop, classes=classes)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        step = runner.group
        if stop - start <= step:
            filler = np.zeros(stop - start, dtype=np.float64)
            return filler, np.ones(stop - start, dtype=np.bool_), f"row {start}: {_line(error)}"
        parts = [
            _predict_range(runner, at, at + step, classes=classes)
            for at in range(start, stop, step)
        ]
        errors = [message for _, _, message in parts if message]
        return (
            _join([part for part, bad, _ in parts], [bad for _, bad, _ in parts]),
            np.concatenate([bad for _, bad, _ in parts]),
            errors[0] if errors else None,
        )
    bad = _not_finite(values)
    message = f"row {start + int(np.argmax(bad))}: the answer is not finite" if bad.any() else None
    return values, bad, message


def _join(parts: list[AnyArray], bad: list[BoolArray]) -> AnyArray:
    """Concatenate; fillers of failed rows take the type of the good ones."""
    good = [part for part, mask in zip(parts, bad, strict=True) if not mask.all()]
    dtype = good[0].dtype if good else parts[0].dtype
    return np.concatenate(
        [
            np.zeros(part.shape, dtype) if mask.all() else part
            for part, mask in zip(parts, bad, strict=True)
        ]
    )


def _answers(runner: OnnxRunner, start: int, stop: int, *, classes: bool) -> AnyArray:
    outputs = dict(zip(runner.output_names, runner.run(start, stop), strict=True))
    values = _classes(outputs) if classes else _numbers(outputs)
    if values.shape[0] != stop - start:
        raise InputError(
            f"{stop - start} rows gave {values.shape[0]} answers; export the model so that each "
            "row has one"
        )
    return values


def _classes(outputs: dict[str, object]) -> AnyArray:
    """The predicted class of each row.

    Classifiers exported by skl2onnx give a label output beside the probabilities; others give
    scores, whose largest column is the class (one column: above one half is class 1).
    """
    arrays = {name: value for name, value in outputs.items() if isinstance(value, np.ndarray)}
    for name, value in arrays.items():
        if name.lower() in LABEL_NAMES or value.dtype.kind in "iubUSO":
            return value.reshape(value.shape[0], -1)[:, 0]
    scores = _first_float(arrays)
    flat = scores.reshape(scores.shape[0], -1)
    if not np.isfinite(flat).all():
        # A row of NaN has no largest column; it is marked as failed by its NaN.
        return np.where(np.isfinite(flat).all(axis=1), flat.argmax(axis=1), np.nan)
    return (flat[:, 0] > 0.5).astype(np.int64) if flat.shape[1] == 1 else flat.argmax(axis=1)


def _numbers(outputs: dict[str, object]) -> AnyArray:
    arrays = {name: value for name, value in outputs.items() if isinstance(value, np.ndarray)}
    value = _first_float(arrays)
    return value.reshape(value.shape[0], -1)[:, 0].astype(np.float64)


def _first_float(arrays: dict[str, AnyArray]) -> AnyArray:
    for value in arrays.values():
        if value.dtype.kind == "f" and value.ndim > 0:
            return value
    raise InputError("the model has no output of numbers; export it with a label or score output")


def _not_finite(values: AnyArray) -> BoolArray:
    if values.dtype.kind != "f":
        return np.zeros(values.shape[0], dtype=np.bool_)
    return ~np.isfinite(values)


def correct(predictions: Predictions, labels: AnyArray) -> BoolArray:
    """Row by row: the class is right. A row without an answer is wrong."""
    if predictions.values.dtype.kind in "USO" or labels.dtype.kind in "USO":
        same = predictions.values.astype(str) == labels.astype(str)
    else:
        same = predictions.values == labels
    return np.asarray(same & ~predictions.failed, dtype=np.bool_)


def score(metric: QualityMetric, predicted: AnyArray, labels: AnyArray) -> float:
    """One number for rows of predictions and labels (at least one row, all answered)."""
    match metric:
        case QualityMetric.ACCURACY:
            return float(np.mean(predicted == labels))
        case QualityMetric.F1:
            return macro_f1(predicted, labels)
        case QualityMetric.RMSE:
            return float(np.sqrt(np.mean((predicted - labels) ** 2)))
        case QualityMetric.MAE:
            return float(np.mean(np.abs(predicted - labels)))


def macro_f1(predicted: AnyArray, labels: AnyArray) -> float:
    """Mean over classes of 2·TP / (2·TP + FP + FN), for the classes seen or predicted.

    Source: Sokolova and Lapalme, A systematic analysis of performance measures for classification
    tasks, Information Processing and Management 45, 2009.
    """
    scores = []
    for name in np.union1d(predicted, labels):
        hits = np.sum((predicted == name) & (labels == name))
        scores.append(2 * hits / (np.sum(predicted == name) + np.sum(labels == name)))
    return float(np.mean(scores))


def _line(error: Exception) -> str:
    """The first line of an error, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
