"""The real `bentoml serve serving.service:Predictor` on a free port, and models to serve."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.services.processes import LOOPBACK, free_port, started

FEATURES = 4
CLASSES = 3
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class RunningPredictor:
    """A predictor that answers on `url`; `log` is everything it printed."""

    url: str
    pid: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20.0)


@contextmanager
def running_predictor(
    home: Path, mlflow_uri: str, *, port: int | None = None, **settings: object
) -> Iterator[RunningPredictor]:
    """Run a predictor until the block ends; it is ready when the block begins.

    Args:
        home: its home directory; a second predictor with the same one is a restart or a replica.
        mlflow_uri: the registry.
        port: where it listens; free by default.
        settings: more settings, named as in the environment: `SERVING__WORKERS=2`.
    """
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"predictor-{port}.out"
    url = f"http://{LOOPBACK}:{port}"
    values: dict[str, object] = {
        "HOME": home,
        "MLFLOW__TRACKING_URI": mlflow_uri,
        "SERVING__PORT": port,
        "SERVING__POLL_SECONDS": 0.1,
        "SERVING__FLUSH_SECONDS": 0.1,
        **settings,
    }
    environment = {f"PRIME_SPARK_{name}": str(value) for name, value in values.items()}
    environment |= {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(home / "bentoml"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Predictor"]
    command += ["--working-dir", str(ROOT), "--timeout-keep-alive", "75"]

    def ready() -> bool:
        return httpx.get(f"{url}/readyz", timeout=2.0).status_code == httpx.codes.OK

    with started(command, ready=ready, log=log, env=environment) as process:
        yield RunningPredictor(url, process.pid, log)


def write_classifier(path: Path, always: int, *, inputs: str = "X", fails: bool = False) -> Path:
    """Write an ONNX model that answers the class `always` for every row.

    With `fails`, a row whose first value is not a small whole number from 0 up makes it fail (it
    looks the value up in a table).
    """
    row = helper.make_tensor_value_info(inputs, TensorProto.FLOAT, [None, FEATURES])
    bias = np.eye(CLASSES, dtype=np.float32)[always] * 5
    weights = [
        numpy_helper.from_array(np.zeros((FEATURES, CLASSES), np.float32), "w"),
        numpy_helper.from_array(bias, "b"),
    ]
    nodes = [
        helper.make_node("MatMul", [inputs, "w"], ["z"]),
        helper.make_node("Add", ["z", "b"], ["s"]),
        helper.make_node("Softmax", ["s"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["s"], ["plain"], axis=1, keepdims=0),
    ]
    if fails:
        weights += [
            numpy_helper.from_array(np.array([0], np.int64), "first"),
            numpy_helper.from_array(np.zeros(4, np.int64), "table"),
        ]
        nodes += [
            helper.make_node("Gather", [inputs, "first"], ["column"], axis=1),
            helper.make_node("Cast", ["column"], ["index"], to=TensorProto.INT64),
            helper.make_node("Squeeze", ["index", "axes"], ["flat"]),
            helper.make_node("Gather", ["table", "flat"], ["nothing"], axis=0),
            helper.make_node("Add", ["plain", "nothing"], ["label"]),
        ]
        weights.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    else:
        nodes.append(helper.make_node("Identity", ["plain"], ["label"]))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, CLASSES]),
    ]
    graph = helper.make_graph(nodes, "classifier", [row], outputs, weights)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def write_heavy(path: Path, always: int, *, megabytes: int) -> Path:
    """Write a model like `write_classifier`'s whose weights take so many MB."""
    width = megabytes * 1024 * 1024 // (4 * (FEATURES + CLASSES))
    row = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, FEATURES])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    weights = [
        numpy_helper.from_array(np.ones((FEATURES, width), np.float32), "wide"),
        numpy_helper.from_array(np.zeros((width, CLASSES), np.float32), "narrow"),
        numpy_helper.from_array(np.eye(CLASSES, dtype=np.float32)[always] * 5, "bias"),
    ]
    nodes = [
        helper.make_node("MatMul", ["X", "wide"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "narrow"], ["z"]),
        helper.make_node("Add", ["z", "bias"], ["s"]),
        helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(nodes, "heavy", [row], [label], weights)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path
