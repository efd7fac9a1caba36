from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.inprocess import OnnxRunner, bind
from benchmarks.quality import (
    Predictions,
    QualityMetric,
    correct,
    macro_f1,
    metric_for,
    predict,
    score,
)
from config.errors import InputError
from registry.onnx_files import inspect, open_session
from registry.records import ModelFile, ModelSchema, TensorSpec
from tests.unit.benchmarks.onnx_models import classifier, evaluation, failing, regression

SEED = 4


class Answers:
    """A session that answers with given outputs; for output forms that need no real model."""

    def __init__(self, **outputs: object) -> None:
        self._outputs = outputs
        specs = tuple(TensorSpec(name, "float32", (None,)) for name in outputs)
        self.schema = ModelSchema((TensorSpec("X", "float32", (None, 1)),), specs)

    def run(self, _: None, feed: dict[str, NDArray[Any]]) -> list[object]:
        return [
            value[: len(feed["X"])] if isinstance(value, np.ndarray) else value
            for value in self._outputs.values()
        ]


def classes_of(**outputs: NDArray[Any] | list[object]) -> list[object]:
    answers = Answers(**outputs)
    rows = np.zeros((len(next(iter(outputs.values()))), 1), dtype=np.float32)
    found: list[object] = predict(
        OnnxRunner(answers, answers.schema, rows), classes=True
    ).values.tolist()
    return found


def runner(file: ModelFile, rows: NDArray[Any]) -> OnnxRunner:
    return OnnxRunner(open_session(file.path, 1), file.schema, rows)


def test_the_label_output_is_taken_wherever_it_stands() -> None:
    scores = np.asarray([[0.9, 0.1], [0.2, 0.8]])
    assert classes_of(label=np.asarray([5, 7]), probabilities=scores) == [5, 7]
    assert classes_of(probabilities=scores, output_label=np.asarray([5, 7])) == [5, 7]
    # A list of mappings, as classifiers are exported with zipmap, is passed over.
    assert classes_of(label=np.asarray(["a", "b"]), probabilities=[{}, {}]) == ["a", "b"]


def test_scores_without_a_label_give_the_largest_column() -> None:
    assert classes_of(scores=np.asarray([[0.9, 0.1], [0.2, 0.8]])) == [0, 1]
    assert classes_of(score=np.asarray([[0.4], [0.6]])) == [0, 1]


def test_scores_that_are_not_numbers_are_failures() -> None:
    answers = Answers(scores=np.asarray([[0.9, 0.1], [np.nan, 0.8]]))
    found = predict(OnnxRunner(answers, answers.schema, np.zeros((2, 1))), classes=True)
    assert found.failed.tolist() == [False, True]
    assert found.first_error == "row 1: the answer is not finite"


def test_an_export_of_scikit_learn_is_understood(tmp_path: Path) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    from skl2onnx import to_onnx

    data = evaluation()
    model = linear.LogisticRegression().fit(data.inputs, data.labels)
    file = tmp_path / "model.onnx"
    exported = to_onnx(model, data.inputs[:1], options={"zipmap": False})
    file.write_bytes(exported.SerializeToString())
    found = predict(OnnxRunner(open_session(file, 1), inspect(file), data.inputs), classes=True)
    assert np.mean(correct(found, data.labels)) == pytest.approx(
        model.score(data.inputs, data.labels), abs=0.006
    )


def test_a_failing_row_fails_alone(tmp_path: Path) -> None:
    data = evaluation(600)
    found = predict(runner(failing(tmp_path / "m.onnx"), data.inputs), classes=True)
    feature = data.inputs[:, 3].astype(np.float64)
    assert found.failed.tolist() == (feature >= 0.9).tolist()
    right = correct(found, data.labels)
    assert right.tolist() == (feature < 0.9).tolist()


def test_numbers_come_out_as_they_are(tmp_path: Path) -> None:
    data = evaluation()
    found = predict(runner(regression(tmp_path / "m.onnx"), data.inputs), classes=False)
    assert found.values == pytest.approx(data.inputs[:, 0])


def test_f1_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(SEED)
    labels, predicted = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    assert macro_f1(predicted, labels) == pytest.approx(
        metrics.f1_score(labels, predicted, average="macro")
    )


def test_errors_are_in_the_unit_of_the_label() -> None:
    predicted, labels = np.asarray([1.0, 2.0, 3.0]), np.asarray([1.0, 2.0, 6.0])
    assert score(QualityMetric.MAE, predicted, labels) == pytest.approx(1.0)
    assert score(QualityMetric.RMSE, predicted, labels) == pytest.approx(3**0.5)


def test_the_metric_follows_from_the_labels() -> None:
    assert metric_for(np.asarray([1, 2])) is QualityMetric.ACCURACY
    assert metric_for(np.asarray(["a"])) is QualityMetric.ACCURACY
    assert metric_for(np.asarray([0.5])) is QualityMetric.RMSE


def test_text_classes_match_text_labels() -> None:
    found = Predictions(np.asarray(["1", "x"], dtype=object), np.zeros(2, dtype=np.bool_), None)
    assert correct(found, np.asarray([1, 2])).tolist() == [True, False]


def test_one_answer_a_row_is_needed() -> None:
    class Pairs(Answers):
        def run(self, _: None, feed: dict[str, NDArray[Any]]) -> list[object]:
            return [np.zeros(2 * len(feed["X"]), dtype=np.int64)]

    pairs = Pairs(label=np.zeros(1))
    found = predict(OnnxRunner(pairs, pairs.schema, np.zeros((3, 1))), classes=True)
    assert found.failures == 3
    assert "1 rows gave 2 answers" in str(found.first_error)


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    file = classifier(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"shape \(3, 9\)"):
        bind(file.schema, np.zeros((3, 9)))
    two = ModelSchema(file.schema.inputs * 2, file.schema.outputs)
    with pytest.raises(InputError, match="2 inputs"):
        bind(two, np.zeros((3, 4)))
