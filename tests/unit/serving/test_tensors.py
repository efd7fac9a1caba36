from __future__ import annotations

import numpy as np
import pytest

from registry.records import ModelSchema, TensorSpec
from serving.replies import Refusal
from serving.tensors import InputReader

OUT = (TensorSpec("y", "float32", (None,)),)


def reader(*inputs: TensorSpec, max_rows: int = 8) -> InputReader:
    return InputReader(ModelSchema(inputs, OUT), max_rows)


def one(dtype: str = "float32", shape: tuple[int | None, ...] = (None, 2)) -> InputReader:
    return reader(TensorSpec("x", dtype, shape))


def test_rows_come_out_in_the_models_type() -> None:
    feeds, rows = one().from_json([[1, 2.5], [3, 4]])
    assert rows == 2
    assert feeds["x"].dtype == np.float32
    assert feeds["x"].tolist() == [[1.0, 2.5], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1.0]], r"shape \[1, 1\]"),
        ([1.0, 2.0], r"shape \[2\]"),
        ([[1.0, 2.0], [3.0]], "differ in length"),
        ([["1.0", "2.0"]], "not text"),
        ([[True, False]], "not true/false"),
        ([[None, None]], "not values of another kind"),
        ([[1e39, 0.0]], "too large for float32"),
        ([], r"shape \[0\]"),
        (7, r"shape \[\]"),
        (None, "inputs is missing"),
        ({"z": [[1.0, 2.0]]}, "must name 'x'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_expected(value: object, said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        one().from_json(value)
    assert refused.value.status == 422
    assert "float32 of shape [any, 2]" in str(refused.value) or "'x'" in str(refused.value)


def test_whole_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(Refusal, match="out of range for int8"):
        one("int8").from_json([[1, 300]])
    with pytest.raises(Refusal, match="not fractions"):
        one("int64").from_json([[1.5, 2]])
    with pytest.raises(Refusal, match="out of range for int64"):
        one("int64").from_json([[2**63, 2**63]])


def test_too_many_rows_are_too_large() -> None:
    with pytest.raises(Refusal) as refused:
        one().from_json([[0.0, 0.0]] * 9)
    assert refused.value.status == 413


def test_no_rows_are_refused() -> None:
    with pytest.raises(Refusal, match="at least one row"):
        one().from_bytes(b"", None, "0,2")


def test_several_inputs_come_by_name_with_the_same_rows() -> None:
    both = reader(TensorSpec("a", "float32", (None,)), TensorSpec("b", "object", (None,)))
    feeds, rows = both.from_json({"a": [1, 2], "b": ["x", "y"]})
    assert rows == 2
    assert feeds["b"].tolist() == ["x", "y"]
    with pytest.raises(Refusal, match="same number of rows"):
        both.from_json({"a": [1, 2], "b": ["x"]})
    with pytest.raises(Refusal, match="must be an object with 'a', 'b'"):
        both.from_json([1, 2])


def test_a_raw_tensor_needs_no_shape_when_only_the_rows_are_open() -> None:
    raw = np.arange(4, dtype="<f4")
    feeds, rows = one().from_bytes(raw.tobytes(), None, None)
    assert rows == 2
    assert feeds["x"].tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_a_raw_tensor_may_hold_nan() -> None:
    feeds, _ = one().from_bytes(np.full((1, 2), np.nan, "<f4").tobytes(), "float32", "1,2")
    assert np.isnan(feeds["x"]).all()


@pytest.mark.parametrize(
    ("dtype", "shape", "said"),
    [
        ("float64", "1,2", "float64"),
        (None, "1,3", "12 bytes and the body 8"),
        (None, "a,b", "whole numbers"),
        (None, "-1,2", "whole numbers"),
        (None, "9" * 50, "whole numbers"),
        (None, "2,1", r"shape \[2, 1\]"),
    ],
)
def test_a_raw_tensor_that_does_not_fit_is_refused(
    dtype: str | None, shape: str, said: str
) -> None:
    with pytest.raises(Refusal, match=said):
        one().from_bytes(bytes(8), dtype, shape)


def test_text_cannot_come_as_a_raw_tensor() -> None:
    with pytest.raises(Refusal) as refused:
        one("object", (None,)).from_bytes(b"abc", None, None)
    assert refused.value.status == 415
