"""When requests arrive: Poisson, evenly spaced, or as recorded in a file.

Every function returns offsets in seconds from the start of the run, ascending, as a float array.
Randomness comes in as a generator, so that the same seed gives the same traffic.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from config.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

FloatArray = NDArray[np.float64]

MAX_FILE_BYTES = 64 * 1024 * 1024


class ArrivalKind(StrEnum):
    """How arrivals are spaced."""

    POISSON = "poisson"
    CONSTANT = "constant"


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> FloatArray:
    """Arrivals of independent users: exponential gaps with mean ``1 / rate``.

    Args:
        rate: requests per second, above 0.
        seconds: length of the run; no arrival falls on or after it.
        rng: where the randomness comes from.

    Raises:
        InputError: rate or length is not a positive, finite number.
    """
    _check(rate, seconds)
    # Given their number, the arrivals of a Poisson process are uniform over the run.
    count = int(rng.poisson(rate * seconds))
    return np.sort(rng.uniform(0.0, seconds, count))


def poisson_count(rate: float, count: int, rng: np.random.Generator) -> FloatArray:
    """Exactly ``count`` Poisson arrivals at ``rate`` per second; the first comes after a gap."""
    _check(rate, 1.0)
    offsets: FloatArray = np.cumsum(rng.exponential(1.0 / rate, count))
    return offsets


def constant(rate: float, seconds: float) -> FloatArray:
    """Evenly spaced arrivals, the first at 0.

    Raises:
        InputError: rate or length is not a positive, finite number.
    """
    _check(rate, seconds)
    return np.arange(math.ceil(rate * seconds - 1e-9), dtype=np.float64) / rate


def from_file(path: Path) -> FloatArray:
    """Replay recorded traffic: one timestamp a line, the first becoming offset 0.

    A timestamp is a number of seconds (since the epoch or any start) or ISO 8601; empty lines and
    lines that start with ``#`` are skipped. Times must not go back.

    Raises:
        InputError: the file cannot be read, is too large, is empty, or a line is not a timestamp
            or goes back in time; the text names file and line.
    """
    times: list[float] = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        moment = _timestamp(text, f"{path}, line {number}")
        if times and moment < times[-1]:
            raise InputError(
                f"{path}, line {number}: {text[:40]} is earlier than the line before it; "
                "sort the file by time"
            )
        times.append(moment)
    if not times:
        raise InputError(f"{path} holds no timestamp; write one a line, in seconds or ISO 8601")
    offsets = np.asarray(times, dtype=np.float64)
    rebased: FloatArray = offsets - offsets[0]
    return rebased


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} is larger than {MAX_FILE_BYTES} bytes; split the recording")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; write one timestamp a line") from error


def _timestamp(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = _iso(text, where)
    if not math.isfinite(value):
        raise InputError(f"{where}: {text[:40]} is not a finite time; give seconds or ISO 8601")
    return value


def _iso(text: str, where: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{where}: {text[:40]!r} is not a timestamp; give seconds or ISO 8601"
        ) from error
    if moment.tzinfo is None:
        raise InputError(f"{where}: {text[:40]} has no time zone; add one, for example +00:00")
    return moment.timestamp()


def _check(rate: float, seconds: float) -> None:
    for name, value in (("rate", rate), ("duration", seconds)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"the {name} must be a positive number, not {value}")
