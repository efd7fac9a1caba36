"""A bounds-checked reader of protobuf's wire format, over memory that is not copied.

Model files are looked into before any library loads them, and may be gigabytes of hostile bytes:
this walks the fields in place and skips the weights. The format is described in "Encoding" of the
Protocol Buffers documentation (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from functools import cache
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # the two group types are long gone and not read


class Field(NamedTuple):
    """One field: `value` if it is a varint, `data` for every other wire type."""

    number: int
    wire: int
    value: int
    data: memoryview


class BadWire(ValueError):
    """The bytes do not follow the wire format."""


_EMPTY = memoryview(b"")


def fields(data: memoryview, wanted: Container[int]) -> Iterator[Field]:
    """The fields of one message whose number is wanted; the others are checked and skipped.

    Raises:
        BadWire: a length leads out of the message, or a number or type is none.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise BadWire("has a field with number 0")
        value = 0
        start = at
        if wire == VARINT:
            value, at = _varint(data, at)
        else:
            length, start = _length(data, at, wire)
            if length > end - start:
                raise BadWire("ends in the middle of a field")
            at = start + length
        if number not in wanted:
            at = _skip_run(data, at, tag)
        else:
            yield Field(number, wire, value, _EMPTY if wire == VARINT else data[start:at])


def _skip_run(data: memoryview, at: int, tag: int) -> int:
    """Step over numbers that follow under the same tag: a large forest has millions of them."""
    if tag > 0x7F or tag & 7 == BYTES:
        return at
    found = _run_of(tag).match(data, at)
    return found.end() if found else at


@cache
def _run_of(tag: int) -> re.Pattern[bytes]:
    values = {
        VARINT: rb"[\x80-\xff]{0,9}[\x00-\x7f]",
        FIXED32: rb"[\x00-\xff]{4}",
        FIXED64: rb"[\x00-\xff]{8}",
    }
    return re.compile(rb"(?:" + re.escape(bytes([tag])) + values[tag & 7] + rb")++")


def _length(data: memoryview, at: int, wire: int) -> tuple[int, int]:
    if wire == BYTES:
        return _varint(data, at)
    if wire == FIXED32:
        return 4, at
    if wire == FIXED64:
        return 8, at
    raise BadWire(f"has a field of unknown wire type {wire}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise BadWire("ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise BadWire("has a number of more than ten bytes")
