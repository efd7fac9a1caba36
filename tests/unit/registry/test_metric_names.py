"""A metric's name says which series of which target is meant, and comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import InputError
from registry.metric_names import MetricName

_NAMES = st.text("abc_", min_size=1)


@given(
    st.builds(
        MetricName,
        st.text(min_size=1).filter(lambda one: not set(one) & set("{}@")),
        st.lists(st.tuples(_NAMES, st.text()), max_size=3).map(tuple),
        st.text(),
    )
)
def test_a_name_comes_back(name: MetricName) -> None:
    assert MetricName.parse(str(name)) == name


def test_what_is_written() -> None:
    name = MetricName("hit_rate", (("model", 'di"g, its}@2'), ("version", "3")), "serving")
    assert str(name) == 'hit_rate{model="di\\"g, its}@2",version="3"}@serving'
    assert name.series == 'hit_rate{model="di\\"g, its}@2",version="3"}'
    assert MetricName.parse("error_rate@serving") == MetricName("error_rate", (), "serving")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@serving",
        "{}",
        "rate{}",
        "rate{model}",
        'rate{model="a"',
        "rate{model=a}",
        "a@",
        r'rate{model="\q"}',
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"names no metric; write name"):
        MetricName.parse(text)
