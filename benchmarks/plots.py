"""Plots for the record of a benchmark or a trial, as PNG bytes.

Drawn with Matplotlib's Agg canvas and without pyplot, so that there is no global state, no window,
and threads do not meet.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.arrivals import FloatArray
from benchmarks.trial_metric import FUTILITY
from registry.records import Look

# Told apart by people who do not see red and green (Okabe and Ito, Color Universal Design, 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
GREY = "#555555"
SIZE_INCHES = (10.0, 4.6)
DOTS_PER_INCH = 110
BINS = 60
WIDE_RANGE = 5.0
MARKED_SHARES = (0.5, 0.95, 0.99)
SMALLEST_EVIDENCE = 1e-6
LARGEST_EVIDENCE = 1e12


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """Latencies of one arm as ascending values in ms with their counts."""

    name: str
    values_ms: FloatArray
    counts: FloatArray

    @classmethod
    def of_samples(cls, name: str, latencies_ms: FloatArray) -> Self:
        """From single latencies in ms."""
        return cls(name, np.sort(latencies_ms), np.ones(latencies_ms.size))

    @classmethod
    def of_buckets(cls, name: str, buckets: Iterable[tuple[float, int]]) -> Self:
        """From (latency in ms, count) pairs, as histograms and sketches give them."""
        ordered = sorted(buckets)
        values = np.asarray([value for value, _ in ordered], dtype=np.float64)
        return cls(name, values, np.asarray([count for _, count in ordered], dtype=np.float64))

    @property
    def total(self) -> float:
        """How many requests."""
        return float(self.counts.sum())

    def quantile(self, share: float) -> float:
        """The latency in ms that ``share`` of the requests did not exceed."""
        reached = np.searchsorted(np.cumsum(self.counts), share * self.total - 1e-9)
        return float(self.values_ms[min(int(reached), self.values_ms.size - 1)])


def latency_png(title: str, curves: Sequence[LatencyCurve]) -> bytes:
    """Latency distribution of the arms: how often each latency was seen, and the slow tail.

    Left, the share of requests in each (logarithmic) bin of latency; right, the share of requests
    that were slower, with the 50th, 95th and 99th percentile. Arms without requests are named as
    such.
    """
    figure = _figure(title)
    shape, tail = figure.subplots(1, 2)
    edges = _edges([curve for curve in curves if curve.total > 0])
    for colour, curve in zip(COLOURS, curves, strict=False):
        if curve.total > 0:
            _draw_shape(shape, curve, edges, colour)
            _draw_tail(tail, curve, colour)
        else:
            shape.plot([], [], color=colour, label=f"{curve.name} (no requests)")
            tail.plot([], [], color=colour, label="unknown")
    _ms_axes(shape, edges)
    _ms_axes(tail, edges)
    shape.set_title("How often each latency was seen")
    shape.set_ylabel("share of requests per bin")
    shape.yaxis.set_major_formatter(FuncFormatter(_percent))
    shape.set_ylim(bottom=0)
    tail.set_title("How many were slower")
    tail.set_ylabel("share of requests slower")
    if any(curve.total > 0 for curve in curves):
        tail.set_yscale("log")
    tail.yaxis.set_major_formatter(FuncFormatter(_percent))
    for axes in (shape, tail) if curves else ():
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return _png(figure)


def _edges(curves: Sequence[LatencyCurve]) -> FloatArray:
    """Common bins over all arms, logarithmic where latencies differ by much."""
    if not curves:
        return np.linspace(0.0, 1.0, BINS + 1)
    low = max(min(float(curve.values_ms[0]) for curve in curves), 1e-3)
    high = max(low, *(float(curve.values_ms[-1]) for curve in curves))
    if high / low < WIDE_RANGE:
        return np.linspace(low * 0.9, high * 1.1, BINS + 1)
    return np.geomspace(low * 0.9, high * 1.1, BINS + 1)


def _draw_shape(axes: Any, curve: LatencyCurve, edges: FloatArray, colour: str) -> None:  # noqa: ANN401 - matplotlib is untyped
    values = np.clip(curve.values_ms, edges[0], edges[-1])
    counts, _ = np.histogram(values, bins=edges, weights=curve.counts)
    label = f"{curve.name} ({curve.total:,.0f} requests)"
    axes.stairs(counts / curve.total, edges, color=colour, linewidth=1.6, label=label)
    axes.stairs(counts / curve.total, edges, color=colour, alpha=0.15, fill=True)


def _draw_tail(axes: Any, curve: LatencyCurve, colour: str) -> None:  # noqa: ANN401 - matplotlib is untyped
    slower = 1.0 - (np.cumsum(curve.counts) - curve.counts) / curve.total
    marks = [(share, curve.quantile(share)) for share in MARKED_SHARES]
    label = ", ".join(f"p{s * 100:g} {_ms(q, None)} ms" for s, q in marks)
    axes.step(curve.values_ms, slower, where="pre", color=colour, linewidth=1.6, label=label)
    for share, value in marks:
        axes.plot([value], [1 - share], marker="o", color=colour, markersize=5)


def _ms_axes(axes: Any, edges: FloatArray) -> None:  # noqa: ANN401 - matplotlib is untyped
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("latency (ms)")
    if edges[0] > 0 and edges[-1] / edges[0] > WIDE_RANGE:
        axes.set_xscale("log")
        axes.set_xlabel("latency (ms, logarithmic)")
        axes.xaxis.set_major_formatter(FuncFormatter(_ms))
        axes.xaxis.set_minor_formatter(FuncFormatter(_sparse_ms))


def evidence_png(title: str, looks: Sequence[Look]) -> bytes:
    """Evidence over time: the decision statistic and the guardrails, each with its boundary.

    Above, z of the decision metric at each look against the boundary it has to cross; below, the
    e-value of each guardrail on a logarithmic scale against its threshold.
    """
    figure = _figure(title, height=7.0)
    decision, guardrails = figure.subplots(2, 1, sharex=True)
    _draw_decision(decision, looks)
    _draw_guardrails(guardrails, looks)
    guardrails.set_xlabel("time since the start (s)")
    if looks:
        last = looks[-1]
        text = f"look {last.number}: {last.verdict}"
        decision.set_title(text, loc="right", fontsize="small", color=GREY)
    return _png(figure)


@dataclass(frozen=True, slots=True)
class Ink:
    """How a line is drawn and named."""

    colour: str
    label: str
    marker: str | None = None
    style: str | tuple[int, tuple[int, int]] = "-"


def _draw_decision(axes: Any, looks: Sequence[Look]) -> None:  # noqa: ANN401 - matplotlib is untyped
    axes.set_title("Decision metric", loc="left")
    axes.set_ylabel("z (above 0: challenger better)")
    axes.axhline(0, color=GREY, linewidth=0.6)
    lines = (
        ([look.z for look in looks], Ink(COLOURS[0], "z", marker="o")),
        ([look.boundary for look in looks], Ink(COLOURS[1], "wins at", style="--")),
        ([look.thresholds.get(FUTILITY) for look in looks], Ink(GREY, "hopeless at", style=":")),
    )
    for values, ink in lines:
        _line(axes, looks, values, ink)
    _legend_or_note(axes, "decision metric")


def _draw_guardrails(axes: Any, looks: Sequence[Look]) -> None:  # noqa: ANN401 - matplotlib is untyped
    axes.set_title("Guardrails", loc="left")
    axes.set_ylabel("e-value (logarithmic)")
    axes.set_yscale("log")
    names = sorted({name for look in looks for name in look.evidence})
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        words = name.replace("_", " ")
        values = [_drawable(look.evidence.get(name)) for look in looks]
        _line(axes, looks, values, Ink(colour, words, marker="o"))
        limits = [_drawable(look.thresholds.get(name)) for look in looks]
        # Guardrails often share a threshold: shifted dashes keep each in sight.
        dashes = (number * 4, (4, 4 * max(len(names) - 1, 1)))
        _line(axes, looks, limits, Ink(colour, f"{words}: stops at", style=dashes))
    _legend_or_note(axes, "guardrail", columns=2)


def _legend_or_note(axes: Any, what: str, columns: int = 1) -> None:  # noqa: ANN401 - matplotlib is untyped
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="best", fontsize="small", ncols=columns, handlelength=3.5)
    else:
        _note_missing(axes, [what])


def _line(axes: Any, looks: Sequence[Look], values: Sequence[float | None], ink: Ink) -> None:  # noqa: ANN401 - matplotlib is untyped
    points = [
        (look.elapsed_s, value)
        for look, value in zip(looks, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    if points:
        times, heights = zip(*points, strict=True)
        axes.plot(
            times,
            heights,
            color=ink.colour,
            label=ink.label,
            linestyle=ink.style,
            marker=ink.marker,
            markersize=4,
        )


def _drawable(value: float | None) -> float | None:
    """Evidence within what a logarithmic axis can show; unknown stays unknown."""
    if value is None or math.isnan(value):
        return None
    return min(max(value, SMALLEST_EVIDENCE), LARGEST_EVIDENCE)


def _note_missing(axes: Any, names: list[str]) -> None:  # noqa: ANN401 - matplotlib is untyped
    if names:
        text = f"no data: {', '.join(names)}"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY)


def _figure(title: str, height: float = SIZE_INCHES[1]) -> Figure:
    figure = Figure(figsize=(SIZE_INCHES[0], height), dpi=DOTS_PER_INCH, layout="constrained")
    # A model's name is not a formula.
    figure.suptitle(title, fontsize="large", parse_math=False)
    return figure


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.grid(visible=True, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    # Without a date and version, the same numbers give the same bytes.
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _ms(value: float, _: object) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _sparse_ms(value: float, position: object) -> str:
    """Numbers for 2 and 5 of each decade; more would overlap."""
    leading = value / 10 ** math.floor(math.log10(value) + 1e-9)
    return _ms(value, position) if round(leading) in (2, 5) else ""


def _percent(value: float, _: object) -> str:
    return f"{value * 100:.3g} %"
