"""What targets read: Prometheus's text, histograms, numbers that cannot be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.targets.histogram import quantile
from optimizers.targets.prometheus_text import read_page
from optimizers.targets.readings import MAX_OBSERVATIONS, Readings

PAGE = rb"""# HELP a_total Something.
# TYPE a_total counter
a_total{model="di\"g\\its\n",version="1"} 12
a_total 3 1700000000000
b NaN
b{x="1"} +Inf
c{} 7
unwanted{model="x"} 1
a_total{model="open} 1
a_total{model="y"} twelve
a_total
"""


def test_only_the_wanted_samples_are_read() -> None:
    page = read_page(PAGE, {"a_total", "b", "c"})
    plain = [(name, labels, value) for name, labels, value in page.samples if not math.isnan(value)]
    assert plain == [
        ("a_total", (("model", 'di"g\\its\n'), ("version", "1")), 12.0),
        ("a_total", (), 3.0),
        ("b", (("x", "1"),), math.inf),
        ("c", (), 7.0),
    ]
    assert len(page.samples) == 5
    assert page.unreadable == 3


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    read_page(b"a{" + content + b"} 1\na " + content, {"a"})


def test_a_page_without_an_end_is_read_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizers.targets.prometheus_text._MAX_SAMPLES", 10)
    page = read_page(b"a 1\n" * 15, {"a"})
    assert (len(page.samples), page.unreadable) == (10, 5)


def test_quantiles_lie_between_their_bounds() -> None:
    buckets = {1.0: 0.0, 2.0: 50.0, 4.0: 100.0, math.inf: 100.0}
    assert quantile(buckets, 0.5) == pytest.approx(2.0)
    assert quantile(buckets, 0.75) == pytest.approx(2.0**1.5)
    assert quantile(buckets, 1.0) == pytest.approx(4.0)
    assert quantile({1.0: 5.0, math.inf: 5.0}, 0.9) == 1.0
    assert quantile({1.0: 0.0, math.inf: 5.0}, 0.9) == 1.0


@pytest.mark.parametrize(
    "buckets",
    [{}, {1.0: 4.0}, {1.0: 0.0, math.inf: 0.0}, {math.inf: 3.0}, {math.nan: 3.0}],
)
def test_without_samples_or_bounds_there_is_no_quantile(buckets: dict[float, float]) -> None:
    assert quantile(buckets, 0.5) is None


def test_numbers_that_cannot_be_are_troubles_and_missing_ones_are_not() -> None:
    readings = Readings("host", 5.0)
    readings.add("missing", None)
    readings.add("good", 0.0, "%", {"b": "2", "a": "1"}, high=100.0)
    readings.add("good", 7.0, "%", high=100.0)
    for value in (math.nan, math.inf, -1.0, 101.0):
        readings.add("bad", value, high=100.0)
    observed = readings.observed("facts")
    assert [(one.metric, one.labels) for one in observed.observations] == [
        ("good", (("a", "1"), ("b", "2"))),
        ("good", ()),
    ]
    assert [sentence.split(",")[0] for sentence in observed.troubles] == [
        "bad is nan",
        "bad is inf",
        "bad is -1",
        "bad is 101",
    ]
    assert observed.facts == "facts"


def test_a_flood_of_series_is_cut_and_told() -> None:
    readings = Readings("host", 5.0)
    for number in range(MAX_OBSERVATIONS + 50):
        readings.add("m", 1.0, "", {"id": str(number)})
    observed = readings.observed()
    assert len(observed.observations) == MAX_OBSERVATIONS
    assert "50 of its series" in observed.troubles[0]
