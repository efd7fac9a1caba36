"""The effect judge, whatever it is given: symmetric, indifferent to units, never an exception."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.effect import EffectData, Guardrail, Layout, judge
from registry.agent_records import Direction, Verdict

ANYTHING = st.one_of(st.none(), st.floats(width=64))
POSITIVE = st.floats(min_value=1e-3, max_value=1e6)
TURNED = {Verdict.IMPROVED: Verdict.WORSE, Verdict.WORSE: Verdict.IMPROVED}


def pairs(values: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(values, values), min_size=8, max_size=24)


def data(rows: list[tuple[float, float]], layout: Layout) -> EffectData:
    return EffectData([before for before, _ in rows], [after for _, after in rows], layout)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(ANYTHING, ANYTHING), max_size=24),
    layout=st.sampled_from(Layout),
    direction=st.sampled_from(Direction),
)
def test_it_takes_whatever_a_target_may_report(
    rows: list[tuple[float | None, float | None]], layout: Layout, direction: Direction
) -> None:
    samples = EffectData([b for b, _ in rows], [a for _, a in rows], layout)
    result = judge(
        samples, direction=direction, guardrails={"other": Guardrail(samples, direction)}
    )
    json.dumps(result.to_dict(), allow_nan=False)
    if not rows:
        assert result.verdict is Verdict.NO_DATA


@settings(max_examples=60)
@given(rows=pairs(POSITIVE), layout=st.sampled_from(Layout))
def test_the_other_direction_turns_the_verdict_round(
    rows: list[tuple[float, float]], layout: Layout
) -> None:
    less = judge(data(rows, layout), direction=Direction.MINIMIZE)
    more = judge(data(rows, layout), direction=Direction.MAXIMIZE)
    assert more.verdict is TURNED.get(less.verdict, less.verdict)
    if less.gain is not None and more.gain is not None:
        assert math.isclose(less.gain, -more.gain, abs_tol=1e-12)


@settings(max_examples=60)
@given(rows=pairs(POSITIVE), layout=st.sampled_from(Layout), factor=st.sampled_from([0.001, 1024]))
def test_the_unit_does_not_matter(
    rows: list[tuple[float, float]], layout: Layout, factor: float
) -> None:
    # Rounded to powers of two, so that scaling by them loses nothing.
    exact = [(2.0 ** round(math.log2(b) * 4), 2.0 ** round(math.log2(a) * 4)) for b, a in rows]
    scale = 2.0 ** round(math.log2(factor))
    scaled = [(before * scale, after * scale) for before, after in exact]
    here = judge(data(exact, layout), direction=Direction.MINIMIZE)
    there = judge(data(scaled, layout), direction=Direction.MINIMIZE)
    assert here.verdict is there.verdict


@settings(max_examples=60)
@given(rows=pairs(POSITIVE), layout=st.sampled_from(Layout))
def test_a_verdict_and_its_interval_agree(rows: list[tuple[float, float]], layout: Layout) -> None:
    result = judge(data(rows, layout), direction=Direction.MINIMIZE)
    if result.gain is None or result.low is None or result.high is None:
        return
    assert result.low <= result.gain <= result.high
    if result.verdict is Verdict.IMPROVED:
        assert result.low >= 0
    if result.verdict is Verdict.WORSE:
        assert result.high <= 0
