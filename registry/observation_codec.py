"""Packs observations: all values of one moment, or all points of a target within a span of time.

A packed point of a series costs about 4 bytes, a database row about 90: that is what lets a day of
500 metrics fit in a few megabytes. Pure: bytes in, numbers out.

A column of numbers is kept as one number when all are equal; in 32 bits where that is exact to a
ten-thousandth of the column's own range; else in 64 bits. The bytes of a column are laid out by
significance, which lets zlib find what repeats.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_FORMAT = 1
_TICK = struct.Struct("<BI")
_HEAD = struct.Struct("<BBII")
_ENTRY = struct.Struct("<II")
_EXACT = 1e-4
_LEVEL = 6
_RAW_COLUMNS = 1
_BUCKET_COLUMNS = 5

# A bucket of observations: start, count, mean, lowest, highest, last.
Bucket = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Points:
    """The points of one series, oldest first.

    Attributes:
        at: when each was seen, or when each bucket starts; seconds since the epoch.
        columns: of raw points the values; of buckets count, mean, lowest, highest, last.
    """

    at: Sequence[float]
    columns: tuple[Sequence[float], ...]

    def buckets(self) -> Iterator[Bucket]:
        """Every point as a bucket; a raw one holds one observation."""
        if len(self.columns) == _RAW_COLUMNS:
            pairs = zip(self.at, self.columns[0], strict=True)
            return ((at, 1.0, one, one, one, one) for at, one in pairs)
        return zip(self.at, *self.columns, strict=True)


def rolled_up(buckets: Iterable[Bucket], step: int) -> Points:
    """Join buckets, oldest first, into buckets of `step` seconds that start at multiples of it.

    Of two parts of the same bucket the later one gives the last value.
    """
    found: dict[float, list[float]] = {}
    for at, count, mean, low, high, last in buckets:
        start = math.floor(at / step) * float(step)
        held = found.get(start)
        if held is None:
            found[start] = [count, mean, low, high, last]
            continue
        total = held[0] + count
        held[1] += (mean - held[1]) * (count / total)
        held[0], held[2], held[3] = total, min(held[2], low), max(held[3], high)
        held[4] = last
    starts = sorted(found)
    columns = tuple([found[start][number] for start in starts] for number in range(_BUCKET_COLUMNS))
    return Points(starts, columns)


def joined(held: Points | None, more: Points, step: int) -> Points:
    """Return the points of both; of raw points of the same moment the one in `more` holds."""
    if held is None:
        return more
    if step:
        return rolled_up([*held.buckets(), *more.buckets()], step)
    values = dict(zip(held.at, held.columns[0], strict=True))
    values.update(zip(more.at, more.columns[0], strict=True))
    moments = sorted(values)
    return Points(moments, ([values[at] for at in moments],))


def pack_tick(values: Mapping[int, float]) -> bytes:
    """Pack the values of one moment, by series."""
    ids = sorted(values)
    head = _TICK.pack(_FORMAT, len(ids)) + _shuffled(struct.pack(f"<{len(ids)}I", *ids), 4)
    numbers = struct.pack(f"<{len(ids)}d", *(values[one] for one in ids))
    return zlib.compress(head + _shuffled(numbers, 8), _LEVEL)


def unpack_tick(body: bytes) -> dict[int, float]:
    """The values of one moment, by series."""
    plain = zlib.decompress(body)
    _, count = _TICK.unpack_from(plain)
    middle = _TICK.size + 4 * count
    ids = struct.unpack(f"<{count}I", _unshuffled(plain[_TICK.size : middle], 4))
    values = struct.unpack(f"<{count}d", _unshuffled(plain[middle : middle + 8 * count], 8))
    return dict(zip(ids, values, strict=True))


def pack_block(series: Mapping[int, Points]) -> bytes:
    """Pack the points of several series, all raw or all buckets of the same length."""
    moments = sorted({at for points in series.values() for at in points.at})
    places = {at: place for place, at in enumerate(moments)}
    columns = max((len(points.columns) for points in series.values()), default=0)
    bodies = {one: _packed(points, places) for one, points in sorted(series.items())}
    parts = [_HEAD.pack(_FORMAT, columns, len(moments), len(bodies))]
    parts.append(_shuffled(struct.pack(f"<{len(moments)}d", *moments), 8))
    parts += [_ENTRY.pack(one, len(body)) for one, body in bodies.items()]
    return zlib.compress(b"".join((*parts, *bodies.values())), _LEVEL)


def unpack_block(body: bytes, wanted: Container[int] | None = None) -> dict[int, Points]:
    """The points of the wanted series of a block; of all of them without `wanted`."""
    plain = zlib.decompress(body)
    _, columns, moment_count, series_count = _HEAD.unpack_from(plain)
    directory = _HEAD.size + 8 * moment_count
    moments = struct.unpack(f"<{moment_count}d", _unshuffled(plain[_HEAD.size : directory], 8))
    position = directory + _ENTRY.size * series_count
    found: dict[int, Points] = {}
    for number in range(series_count):
        one, size = _ENTRY.unpack_from(plain, directory + _ENTRY.size * number)
        if wanted is None or one in wanted:
            found[one] = _unpacked(plain[position : position + size], moments, columns)
        position += size
    return found


def series_in(body: bytes) -> set[int]:
    """The series of a block."""
    plain = zlib.decompress(body)
    _, _, moment_count, series_count = _HEAD.unpack_from(plain)
    start = _HEAD.size + 8 * moment_count
    directory = plain[start : start + _ENTRY.size * series_count]
    return {one for one, _ in _ENTRY.iter_unpack(directory)}


def _packed(points: Points, places: Mapping[float, int]) -> bytes:
    if len(points.at) == len(places):
        mask = b"\x00"
    else:
        bits = sum(1 << places[at] for at in points.at)
        mask = b"\x01" + bits.to_bytes((len(places) + 7) // 8, "little")
    return mask + b"".join(_packed_column(column) for column in points.columns)


def _unpacked(body: bytes, moments: Sequence[float], columns: int) -> Points:
    position = 1
    at = moments
    if body[0]:
        position += (len(moments) + 7) // 8
        bits = int.from_bytes(body[1:position], "little")
        at = [one for place, one in enumerate(moments) if bits >> place & 1]
    found: list[Sequence[float]] = []
    for _ in range(columns):
        column, position = _unpacked_column(body, position, len(at))
        found.append(column)
    return Points(at, tuple(found))


def _packed_column(values: Sequence[float]) -> bytes:
    low, high = min(values), max(values)
    if low == high:
        return b"c" + struct.pack("<d", low)
    layout = f"<{len(values)}f"
    allowed = (high - low) * _EXACT
    try:
        short = struct.pack(layout, *values)
    except OverflowError:
        short = b""
    else:
        back = struct.unpack(layout, short)
        if any(abs(one - kept) > allowed for one, kept in zip(values, back, strict=True)):
            short = b""
    if short:
        return b"f" + _shuffled(short, 4)
    return b"d" + _shuffled(struct.pack(f"<{len(values)}d", *values), 8)


def _unpacked_column(body: bytes, position: int, count: int) -> tuple[Sequence[float], int]:
    kind, position = body[position : position + 1], position + 1
    if kind == b"c":
        (value,) = struct.unpack_from("<d", body, position)
        return [value] * count, position + 8
    size = 4 if kind == b"f" else 8
    end = position + size * count
    plain = _unshuffled(body[position:end], size)
    return struct.unpack(f"<{count}{kind.decode()}", plain), end


def _shuffled(plain: bytes, size: int) -> bytes:
    return b"".join(plain[place::size] for place in range(size))


def _unshuffled(mixed: bytes, size: int) -> bytes:
    count = len(mixed) // size
    plain = bytearray(len(mixed))
    for place in range(size):
        plain[place::size] = mixed[place * count : (place + 1) * count]
    return bytes(plain)
