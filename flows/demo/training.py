"""Trains the demo's five models in the run: real ones, from scikit-learn's handwritten digits.

Everything follows from one seed. The images are divided three ways: some train the models, some
travel with each version as its evaluation data, and the rest are what visitors of the demo send.
Nothing here is shipped ready-made, and nothing tells a model how it has to come out.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

SEED = 10
TRAINING_IMAGES = 700
EVALUATION_IMAGES = 550
# scikit-learn's digits have 17 levels of grey, 0 to 16.
LEVELS = 17
_SIDE = 8
_OPSET = 17
_FEW = 60
_FEWER = 550


@dataclass(frozen=True, slots=True)
class Digits:
    """Images as rows of 64 levels of grey, with the digit each of them shows."""

    images: Images
    labels: Labels

    def first(self, count: int) -> Digits:
        """Return the first `count` of them."""
        return Digits(self.images[:count], self.labels[:count])


@dataclass(frozen=True, slots=True)
class DemoData:
    """The three parts, with no image in two of them."""

    training: Digits
    evaluation: Digits
    live: Digits


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one version is made, and the sentence it is registered with."""

    name: str
    description: str
    train: Callable[[Digits], ModelProto]


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """An ONNX file on disk; `accuracy` is its share of right answers on the evaluation data."""

    name: str
    description: str
    path: Path
    accuracy: float
    seconds: float


def divide_digits(seed: int = SEED) -> DemoData:
    """Load the digits and divide them at random."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    images = bunch.data.astype(np.float32)[order]
    labels = bunch.target.astype(np.int64)[order]
    ends = (TRAINING_IMAGES, TRAINING_IMAGES + EVALUATION_IMAGES)
    parts = zip(np.split(images, ends), np.split(labels, ends), strict=True)
    return DemoData(*(Digits(*part) for part in parts))


def train(recipe: Recipe, data: DemoData, folder: Path) -> TrainedModel:
    """Train one model, write it as ONNX, and measure it on the evaluation data."""
    started = time.perf_counter()
    model = recipe.train(data.training)
    path = folder / f"{recipe.name}.onnx"
    path.write_bytes(model.SerializeToString())
    return TrainedModel(
        name=recipe.name,
        description=recipe.description,
        path=path,
        accuracy=measure_accuracy(path, data.evaluation),
        seconds=time.perf_counter() - started,
    )


def measure_accuracy(path: Path, digits: Digits) -> float:
    """Return the share of images for which the model's first output is the right digit."""
    from registry.onnx_files import open_session

    session = open_session(path, 1)
    answers = session.run(None, {session.get_inputs()[0].name: digits.images})[0]
    return float(np.mean(answers == digits.labels))


def _few_examples(digits: Digits) -> ModelProto:
    from sklearn.linear_model import LogisticRegression

    few = digits.first(_FEW)
    return _exported(LogisticRegression(max_iter=300).fit(few.images, few.labels))


def _many_examples(digits: Digits) -> ModelProto:
    return _network(_blurred(digits))


def _nearest_neighbour(digits: Digits) -> ModelProto:
    from sklearn.neighbors import KNeighborsClassifier

    moved = _moved(digits)
    return _exported(KNeighborsClassifier(1).fit(moved.images, moved.labels))


def _fewer_examples(digits: Digits) -> ModelProto:
    return _network(digits.first(_FEWER))


def _with_lookup_table(digits: Digits) -> ModelProto:
    """Correct the contrast with a table of the levels seen in training, then a network.

    A camera that goes beyond those levels sends an index the table does not have: the model then
    fails on that image, which no evaluation on images like the training ones can show.
    """
    table = (16 * (np.arange(LEVELS) / 16) ** 0.8).astype(np.float32)
    many = _blurred(digits)
    corrected = Digits(table[np.round(many.images).astype(np.int64)], many.labels)
    return _behind_lookup(table, _network(corrected))


def _network(digits: Digits) -> ModelProto:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    network = MLPClassifier(
        (128,), max_iter=25, random_state=1, learning_rate_init=0.003, batch_size=64
    )
    with warnings.catch_warnings():
        # 25 rounds are what the demo has time for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make_pipeline(MinMaxScaler(), network).fit(digits.images, digits.labels)
    return _exported(model)


def _blurred(digits: Digits) -> Digits:
    """Return every image five times: as it is, and smeared a little in four directions."""
    squares = digits.images.reshape(-1, _SIDE, _SIDE)
    smeared = [
        np.float32(0.6) * squares + np.float32(0.4) * np.roll(squares, step, axis)
        for axis in (1, 2)
        for step in (1, -1)
    ]
    return _joined([squares, *smeared], digits.labels)


def _moved(digits: Digits) -> Digits:
    """Return every image nine times: as it is, and moved by a pixel in eight directions."""
    squares = digits.images.reshape(-1, _SIDE, _SIDE)
    steps = [(down, right) for down in (0, 1, -1) for right in (0, 1, -1)]
    return _joined([np.roll(squares, step, (1, 2)) for step in steps], digits.labels)


def _joined(copies: list[Images], labels: Labels) -> Digits:
    images = np.concatenate(copies).reshape(-1, _SIDE * _SIDE)
    return Digits(images, np.tile(labels, len(copies)))


def _exported(model: object) -> ModelProto:
    from skl2onnx import to_onnx

    sample = np.zeros((1, _SIDE * _SIDE), dtype=np.float32)
    with warnings.catch_warnings():
        # The converter reads attributes that scikit-learn is about to drop.
        warnings.simplefilter("ignore", FutureWarning)
        exported: ModelProto = to_onnx(
            model, sample, options={id(model): {"zipmap": False}}, target_opset=_OPSET
        )
    return exported


def _behind_lookup(table: Images, model: ModelProto) -> ModelProto:
    """Put the table between the model's input, which keeps its name, and all that reads it."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    pixels = graph.input[0].name
    for node in graph.node:
        names = ["corrected" if name == pixels else name for name in node.input]
        del node.input[:]
        node.input.extend(names)
    graph.initializer.append(numpy_helper.from_array(table, "contrast"))
    levels = helper.make_node("Cast", [pixels], ["levels"], to=TensorProto.INT64)
    look_up = helper.make_node("Gather", ["contrast", "levels"], ["corrected"], name="contrast")
    graph.node.insert(0, levels)
    graph.node.insert(1, look_up)
    return model


RECIPES = (
    Recipe("few-examples", "logistic regression on 60 images", _few_examples),
    Recipe("many-examples", "neural network on 3,500 images", _many_examples),
    Recipe("nearest-neighbour", "nearest neighbour of 6,300 images", _nearest_neighbour),
    Recipe("fewer-examples", "neural network on 550 images", _fewer_examples),
    Recipe(
        "contrast-table",
        "neural network behind a contrast table for the levels 0 to 16",
        _with_lookup_table,
    ),
)
