"""From a request body to checked arrays: what does not fit the model's schema goes no further.

JSON cannot carry NaN or infinity, and a JSON number too large for the model's type is refused.
Raw tensors may hold NaN and infinity: there the model decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.records import ModelSchema, TensorSpec
from serving.replies import Refusal

Tensor = NDArray[np.generic]
Feeds = dict[str, Tensor]

DTYPE_HEADER = b"x-prime-spark-dtype"
SHAPE_HEADER = b"x-prime-spark-shape"

_STRINGS = frozenset({"object", "str", "string"})
_ACCEPTS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b", "O": "U"}
_TOO_LARGE = "a number is too large for"
_MAX_AXES = 32
_MAX_SHAPE_TEXT = 400


def numpy_type(spec: TensorSpec) -> np.dtype[np.generic]:
    """Return the numpy type of a schema's type name; text is held as objects."""
    return np.dtype(object) if spec.dtype in _STRINGS else np.dtype(spec.dtype)


@dataclass(frozen=True, slots=True)
class _Input:
    spec: TensorSpec
    dtype: np.dtype[np.generic]
    accepts: str
    wanted: str
    row: tuple[int | None, ...] | None = None


class InputReader:
    """Turns request values into the arrays of one model's inputs."""

    __slots__ = ("_batchable", "_by_name", "_max_rows", "_only")

    def __init__(self, schema: ModelSchema, max_rows: int) -> None:
        self._by_name = {spec.name: _described(spec) for spec in schema.inputs}
        self._only = next(iter(self._by_name.values())) if len(schema.inputs) == 1 else None
        self._batchable = schema.batchable
        self._max_rows = max_rows

    def from_json(self, value: object) -> tuple[Feeds, int]:
        """Return the arrays and the number of rows in a JSON value.

        A model with one input takes the nested list itself; every model takes an object of nested
        lists by input name.

        Raises:
            Refusal: 422, with the expected shape and type.
        """
        if isinstance(value, Mapping):
            self._check_names(value)
            feeds = {name: _from_list(self._by_name[name], raw) for name, raw in value.items()}
        elif self._only is not None and value is not None:
            feeds = {self._only.spec.name: _from_list(self._only, value)}
        elif self._only is not None:
            raise Refusal(422, f"inputs is missing; {self._only.wanted}")
        else:
            raise Refusal(422, f"inputs must be an object with {self._names()}, one list each")
        return feeds, self._rows(feeds)

    def from_bytes(self, body: bytes, dtype: str | None, shape: str | None) -> tuple[Feeds, int]:
        """Return the array in a raw little-endian, row-major tensor (one-input models only).

        Raises:
            Refusal: 415 for a model with several inputs or text; 422 with what is expected.
        """
        only = self._only
        if only is None or only.dtype.kind == "O":
            raise Refusal(
                415, "this model's inputs do not fit one raw tensor; send application/json"
            )
        if dtype is not None and dtype.strip().lower() != only.dtype.name:
            raise Refusal(422, f"{only.wanted}; the dtype header says {dtype[:40]!r}")
        axes = _axes(shape, only) if shape is not None else self._guessed(len(body), only)
        if math.prod(axes) * only.dtype.itemsize != len(body):
            raise Refusal(
                422,
                f"{only.wanted}; a tensor of shape {list(axes)} has "
                f"{math.prod(axes) * only.dtype.itemsize} bytes and the body {len(body)}",
            )
        array = np.frombuffer(body, dtype=only.dtype.newbyteorder("<")).reshape(axes)
        feeds: Feeds = {only.spec.name: _fitting(only, array)}
        return feeds, self._rows(feeds)

    def from_named(self, raw: Mapping[str, Tensor]) -> tuple[Feeds, int]:
        """Return arrays given by input name, checked like the rest.

        Raises:
            Refusal: 422, with the expected shape and type.
        """
        self._check_names(raw)
        feeds = {name: _converted(self._by_name[name], array) for name, array in raw.items()}
        return feeds, self._rows(feeds)

    def _check_names(self, given: Mapping[str, object]) -> None:
        if given.keys() != self._by_name.keys():
            names = ", ".join(repr(name)[:60] for name in list(given)[:8])
            raise Refusal(422, f"inputs must name {self._names()}; they name {names or 'nothing'}")

    def _names(self) -> str:
        return ", ".join(repr(name) for name in self._by_name)

    def _rows(self, feeds: Feeds) -> int:
        if not self._batchable or not feeds:
            return 1
        counts = [len(array) for array in feeds.values()]
        count = counts[0]
        if len(counts) > 1 and counts.count(count) < len(counts):
            raise Refusal(422, f"all inputs must have the same number of rows, not {counts}")
        if count == 0:
            raise Refusal(422, "inputs must have at least one row")
        if count > self._max_rows:
            raise Refusal(413, f"{count} rows in one request; at most {self._max_rows} are allowed")
        return count

    def _guessed(self, size: int, only: _Input) -> tuple[int, ...]:
        """Return the shape of a raw tensor sent without one: only the first axis may be open."""
        shape = only.spec.shape
        if any(axis is None for axis in shape[1:]) or not shape:
            raise Refusal(422, f"{only.wanted}; send its shape in {SHAPE_HEADER.decode()}")
        rest = tuple(axis for axis in shape[1:] if axis is not None)
        row = math.prod(rest) * only.dtype.itemsize
        return (shape[0] if shape[0] is not None else size // max(row, 1), *rest)


def _described(spec: TensorSpec) -> _Input:
    dtype = numpy_type(spec)
    shape = ", ".join("any" if axis is None else str(axis) for axis in spec.shape)
    kind = "text" if dtype.kind == "O" else dtype.name
    wanted = f"input {spec.name!r} must be {kind} of shape [{shape}]"
    # The shape of one row, where the number of rows is all that is open.
    rows_open = bool(spec.shape) and spec.shape[0] is None and None not in spec.shape[1:]
    row = spec.shape[1:] if rows_open else None
    return _Input(spec, dtype, _ACCEPTS.get(dtype.kind, ""), wanted, row)


def _from_list(wanted: _Input, raw: object) -> Tensor:
    try:
        array = np.array(raw)
    except (ValueError, TypeError, OverflowError):
        raise Refusal(422, f"{wanted.wanted}; its rows differ in length or type") from None
    return _converted(wanted, array)


def _converted(wanted: _Input, array: Tensor) -> Tensor:
    if array.dtype.kind not in wanted.accepts:
        raise Refusal(422, f"{wanted.wanted}, not {_kind_name(array)}")
    dtype = wanted.dtype
    if dtype.kind == "f":
        try:
            converted: Tensor = array.astype(dtype)
        except RuntimeWarning:  # an overflow, where warnings are errors
            raise Refusal(422, f"{wanted.wanted}; {_TOO_LARGE} {dtype.name}") from None
        if not _finite(converted):
            raise Refusal(422, f"{wanted.wanted}; {_TOO_LARGE} {dtype.name}")
        return _fitting(wanted, converted)
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype.name)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise Refusal(422, f"{wanted.wanted}; a number is out of range for {dtype.name}")
    return _fitting(wanted, array.astype(dtype))


def _finite(array: Tensor) -> bool:
    """Tell whether every number is finite.

    The sum of squares is finite only then, and costs a fraction of looking at each number; where it
    is not, large finite numbers may be the reason.
    """
    try:
        if math.isfinite(np.vdot(array, array)):  # type: ignore[arg-type]
            return True
    except RuntimeWarning:  # an overflow, where warnings are errors
        pass
    return bool(np.isfinite(array).all())


def _fitting(wanted: _Input, array: Tensor) -> Tensor:
    shape = wanted.spec.shape
    found = array.shape
    if found[1:] == wanted.row and found:
        return array
    if len(found) == len(shape):
        for want, have in zip(shape, found, strict=True):
            if want is not None and want != have:
                break
        else:
            return array
    raise Refusal(422, f"{wanted.wanted}; it has shape {list(found)}")


_KINDS = {
    "f": "fractions",
    "i": "whole numbers",
    "u": "whole numbers",
    "b": "true/false",
    "U": "text",
}


def _kind_name(array: Tensor) -> str:
    return _KINDS.get(array.dtype.kind, "values of another kind")


def _axes(text: str, wanted: _Input) -> tuple[int, ...]:
    parts = text[:_MAX_SHAPE_TEXT].strip().strip("[]()").split(",")
    cleaned = [part.strip() for part in parts if part.strip()]
    if len(cleaned) > _MAX_AXES or not all(
        part.isascii() and part.isdigit() and len(part) < 12 for part in cleaned
    ):
        raise Refusal(
            422, f"{wanted.wanted}; {SHAPE_HEADER.decode()} must be whole numbers such as 1,64"
        )
    return tuple(int(part) for part in cleaned)
