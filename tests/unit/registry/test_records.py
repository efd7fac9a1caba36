"""Records: schemas as text, windows as totals."""

from __future__ import annotations

import pytest

from registry.records import ModelSchema, TensorSpec

SCHEMA = ModelSchema(
    (TensorSpec("X", "float32", (None, 64)),), (TensorSpec("label", "int64", (None,)),)
)


def test_a_schema_survives_its_text() -> None:
    assert ModelSchema.from_json(SCHEMA.to_json()) == SCHEMA


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '"x"',
        '{"inputs": 3, "outputs": []}',
        '{"inputs": [{"name": 1, "dtype": "f", "shape": []}], "outputs": []}',
        '{"inputs": [{"name": "x", "dtype": "f", "shape": ["a"]}], "outputs": []}',
    ],
)
def test_other_texts_are_no_schema(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ModelSchema.from_json(text)


@pytest.mark.parametrize(
    ("shape", "batchable"), [((None, 64), True), ((1, 64), False), ((), False), ((None,), True)]
)
def test_rows_can_be_joined_when_the_first_axis_is_free(
    shape: tuple[int | None, ...], batchable: bool
) -> None:
    spec = TensorSpec("X", "float32", shape)
    assert ModelSchema((spec,), SCHEMA.outputs).batchable is batchable
    assert ModelSchema(SCHEMA.inputs, (spec,)).batchable is batchable
