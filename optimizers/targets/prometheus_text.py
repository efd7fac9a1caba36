"""Reads Prometheus's text format, only the metrics that are wanted.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, 0.0.4).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from registry.metric_names import Labels

_MAX_SAMPLES = 50_000
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted samples of a page: metric, labels, value; and how many lines made no sense."""

    samples: tuple[tuple[str, Labels, float], ...]
    unreadable: int


def read_page(content: bytes, wanted: Collection[str]) -> Page:
    """Return the samples of the wanted names (those of a histogram with their suffix).

    Values may be NaN or infinite, as the format allows; judging them is the caller's.
    """
    samples: list[tuple[str, Labels, float]] = []
    unreadable = 0
    for line in content.decode("utf-8", "replace").split("\n"):
        if not line or line[0] == "#":
            continue
        name, brace, rest = line.partition("{")
        if not brace:
            name, _, rest = line.partition(" ")
        if name not in wanted:
            continue
        sample = _sample(rest if brace else f"}} {rest}")
        if sample is None or len(samples) >= _MAX_SAMPLES:
            unreadable += 1
        else:
            samples.append((name, *sample))
    return Page(tuple(samples), unreadable)


def _sample(rest: str) -> tuple[Labels, float] | None:
    text, brace, numbers = rest.rpartition("}")
    parts = numbers.split()
    if not brace or not parts:
        return None
    labels = _labels(text)
    try:
        return None if labels is None else (labels, float(parts[0]))
    except ValueError:
        return None


# A target's labels are the same at every look.
@lru_cache(maxsize=8192)
def _labels(text: str) -> Labels | None:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if match is None:
            return None
        found.append((match[1], _ESCAPED.sub(_unescaped, match[2])))
        position = match.end()
    return tuple(found)


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
