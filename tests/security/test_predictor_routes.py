"""Hostile input on every route of the real predictor: an error of the client's, never a 5xx."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.clock import SystemClock
from registry.mlflow_models import ModelRegistry
from tests.services.predictor import (
    FEATURES,
    RunningPredictor,
    running_predictor,
    write_classifier,
)

MODEL = "hostile"
BODY_LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def predictor(
    mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPredictor]:
    home = tmp_path_factory.mktemp("hostile")
    registry = ModelRegistry(mlflow_uri, SystemClock())
    registry.register(MODEL, write_classifier(home / "model.onnx", 1))
    registry.set_alias(MODEL, "champion", 1)
    with running_predictor(
        home, mlflow_uri, SERVING__MAX_BODY_BYTES=BODY_LIMIT, SERVING__MODELS=MODEL
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(predictor: RunningPredictor) -> Iterator[httpx.Client]:
    with predictor.client() as opened:
        yield opened


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["X", "label", "FP32", 1e39, -1, 2**63]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "key", "X", "name", "shape", "datatype", "data", "items", "id"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
rows = st.lists(st.lists(st.floats(-1e38, 1e38), min_size=FEATURES, max_size=FEATURES), max_size=4)
predict_bodies = st.fixed_dictionaries(
    {"inputs": rows | json_values}, optional={"key": json_values}
)
tensors = st.fixed_dictionaries(
    {"name": st.just("X") | json_values, "data": rows | json_values},
    optional={
        "shape": st.lists(st.integers(-2, 2**40), max_size=3) | json_values,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL"]) | json_values,
    },
)
v2_bodies = st.fixed_dictionaries(
    {"inputs": st.lists(tensors | json_values, max_size=2) | json_values},
    optional={"outputs": json_values, "parameters": json_values, "id": json_values},
)
feedback_items = st.fixed_dictionaries(
    {"request_id": st.text(max_size=40) | json_values},
    optional={"label": json_values, "score": json_values, "metric": json_values},
)
feedback_bodies = st.fixed_dictionaries({"items": st.lists(feedback_items) | json_values})
ROUTES = {
    f"/predict/{MODEL}": predict_bodies,
    f"/v2/models/{MODEL}/infer": v2_bodies,
    "/feedback": feedback_bodies,
}


def is_honest(answer: httpx.Response) -> bool:
    """Tell whether an answer is a result or one sentence about the client's mistake."""
    if answer.status_code == 200:
        return True
    return 400 <= answer.status_code < 500 and isinstance(answer.json()["error"], str)


@pytest.mark.parametrize("path", ROUTES)
def test_any_json_is_answered_or_refused(client: httpx.Client, path: str) -> None:
    @settings(max_examples=150)
    @given(ROUTES[path] | json_values)
    def check(body: object) -> None:
        content = json.dumps(body)  # NaN and Infinity included, which JSON does not know
        answer = client.post(
            path, content=content.encode(), headers={"content-type": "application/json"}
        )
        assert is_honest(answer), (answer.status_code, answer.text)

    check()


@pytest.mark.parametrize("path", ROUTES)
def test_any_bytes_and_headers_are_answered_or_refused(client: httpx.Client, path: str) -> None:
    printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)

    @settings(max_examples=80)
    @given(
        st.binary(max_size=200),
        st.sampled_from(["application/json", "application/octet-stream", "text/html", ""]),
        printable,
        printable | st.just(f"1,{FEATURES}"),
    )
    def check(body: bytes, kind: str, dtype: str, shape: str) -> None:
        headers = {
            "content-type": kind,
            "x-prime-spark-dtype": dtype.strip(),
            "x-prime-spark-shape": shape.strip(),
            "x-prime-spark-key": dtype.strip(),
        }
        answer = client.post(path, content=body, headers=headers)
        assert is_honest(answer), (answer.status_code, answer.text)

    check()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_any_method_on_any_path_is_answered_or_refused(client: httpx.Client, method: str) -> None:
    paths = [*ROUTES, "/metrics", "/models", "/v2", "/v2/models/", "/predict/", "/x/../y", "/%00"]
    for path in paths:
        answer = client.request(method, path)
        assert answer.status_code < 500, (method, path, answer.text)


def test_deep_nesting_and_huge_numbers_are_refused(client: httpx.Client) -> None:
    path = f"/predict/{MODEL}"
    for body in (
        b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"inputs":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"inputs":[[' + b"9" * 5000 + b"]]}",
        b'{"inputs":[[1e999,0,0,0]]}',
        b'{"inputs":{"X":' * 2000,
    ):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), answer.text


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(
    client: httpx.Client,
) -> None:
    path = f"/predict/{MODEL}"
    whole = client.post(path, content=b" " * (BODY_LIMIT + 1))
    pieces = client.post(path, content=(b" " * 1024 for _ in range(BODY_LIMIT // 1024 + 1)))
    assert [whole.status_code, pieces.status_code] == [413, 413]


def test_a_client_that_goes_away_harms_nobody(
    client: httpx.Client, predictor: RunningPredictor
) -> None:
    port = int(predictor.url.rsplit(":", 1)[1])
    head = f"POST /predict/{MODEL} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(head.encode())
    answer = client.post(f"/predict/{MODEL}", json={"inputs": [[0.0] * FEATURES]})
    assert answer.status_code == 200


def test_the_errors_that_tell_what_to_send_instead(client: httpx.Client) -> None:
    path = f"/predict/{MODEL}"
    wrong_method = client.get(path)
    wrong_type = client.post(path, content=b"x", headers={"content-type": "text/plain"})
    wrong_shape = client.post(path, json={"inputs": [[1.0]]})
    binary = client.post(
        f"/v2/models/{MODEL}/infer", json={}, headers={"inference-header-content-length": "3"}
    )
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert wrong_type.status_code == 415
    assert wrong_shape.status_code == 422
    assert f"float32 of shape [any, {FEATURES}]" in wrong_shape.json()["error"]
    assert (binary.status_code, "binary" in binary.json()["error"]) == (415, True)


def test_its_own_description_holds(predictor: RunningPredictor, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{predictor.url}/openapi.json"]
    command += ["--checks", "not_a_server_error", "--max-examples", "25", "--seed", "7"]
    command += ["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_a_datatype_that_is_no_text_is_refused(client: httpx.Client) -> None:
    tensor = {"name": "X", "shape": [1, FEATURES], "datatype": ["FP32"], "data": [0] * FEATURES}
    answer = client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor]})
    assert answer.status_code == 422
    assert "datatype must be one of" in answer.json()["error"]


def test_ids_of_other_homes_do_not_count(client: httpx.Client) -> None:
    forged = client.post("/feedback", json={"request_id": uuid4().hex * 3, "label": 1})
    assert forged.status_code == 422
    assert forged.json()["refused"] == 1
