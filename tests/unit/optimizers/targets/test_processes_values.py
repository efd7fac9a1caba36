"""One value for a name, or each thread's own: folding, spreading and comparing are exact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from optimizers.targets.processes_facts import Thread
from optimizers.targets.processes_values import Standing, folded, standing, wanted_of

_NICE = st.integers(-20, 19)
_CORES = st.lists(st.integers(0, 7), min_size=1, unique=True).map(sorted)
# A number belongs to one process at a time; ten of them to each here.
_THREADS = st.builds(
    lambda tid, began: Thread(tid // 10, tid, began), st.integers(1, 60), st.integers(1, 3)
)
_VALUES: st.SearchStrategy[dict[Thread, JsonValue]] = st.dictionaries(
    _THREADS,
    st.one_of(_NICE, _CORES),
    min_size=1,
    max_size=12,
)


@given(_VALUES)
def test_what_is_folded_is_what_each_thread_gets_back(values: dict[Thread, JsonValue]) -> None:
    value = folded(values)
    assert {thread: wanted_of(thread, value) for thread in values} == values


@given(_VALUES, _NICE)
def test_put_back_in_part_is_neither_before_nor_a_strangers(
    values: dict[Thread, JsonValue], after: int
) -> None:
    before = folded(values)
    now: dict[Thread, JsonValue] = dict.fromkeys(values, after)
    assert standing(now, before, after) is Standing.AFTER
    assert standing(values, before, "never") is Standing.BEFORE
    first = next(iter(values))
    now[first] = values[first]
    expected = {Standing.AFTER, Standing.BETWEEN, Standing.BEFORE}
    assert standing(now, before, after) in expected
    now[first] = "a stranger's"
    assert standing(now, before, after) is Standing.OTHER


@given(_VALUES, st.data())
def test_those_that_end_change_nothing(
    values: dict[Thread, JsonValue], data: st.DataObject
) -> None:
    before = folded(values)
    left = data.draw(st.sets(st.sampled_from(sorted(values, key=str)), min_size=1))
    now = {thread: values[thread] for thread in left}
    assert standing(now, before, "never") is Standing.BEFORE


def test_those_that_come_tell_nothing_unless_alone() -> None:
    old, new = Thread(1, 1, 1), Thread(2, 2, 9)
    assert standing({old: 9, new: 0}, 3, 9, {new}) is Standing.AFTER
    assert standing({old: 9, new: 0}, 3, 9) is Standing.OTHER
    assert standing({new: 3}, 3, 9, {new}) is Standing.BEFORE
    assert standing({}, 3, 9) is Standing.GONE
