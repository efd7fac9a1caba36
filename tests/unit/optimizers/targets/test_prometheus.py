"""The target Prometheus on the real server: what PromQL gives, and what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.errors import UnavailableError
from optimizers.targets.base import Observed
from optimizers.targets.prometheus import PrometheusTarget
from tests.services.paged_server import paged_server
from tests.services.processes import wait_until
from tests.services.prometheus_server import prometheus_server

PAGE = b"""# TYPE shop_queue gauge
shop_queue{till="one"} 3
shop_queue{till="two"} 4.5
shop_temperature_celsius NaN
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has scraped the page."""
    with (
        paged_server({"/metrics": PAGE}) as shop,
        prometheus_server(tmp_path_factory.mktemp("prometheus"), shop.url) as address,
    ):
        wait_until(lambda: _values(address, "shop_queue") != {}, 20.0, "the page is scraped")
        yield address


def _asked(url: str, queries: Mapping[str, str]) -> Observed:
    return PrometheusTarget("shop", url, queries, SystemClock()).observe(time.time(), 5.0)


def _values(url: str, query: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {one.labels: one.value for one in _asked(url, {"it": query}).observations}


def test_each_series_is_a_value_with_its_labels(url: str) -> None:
    found = {dict(labels)["till"]: value for labels, value in _values(url, "shop_queue").items()}
    assert found == {"one": 3.0, "two": 4.5}


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("sum(shop_queue)", 7.5),
        ("scalar(max(shop_queue))", 4.5),
        ("sum(up{job='shop'})", 1.0),
        ("-7", -7.0),
        ("count(shop_queue) / 0", None),
        ("sum(shop_nothing)", None),
        ("shop_temperature_celsius", None),
    ],
)
def test_what_is_not_a_number_is_missing(url: str, query: str, value: float | None) -> None:
    assert list(_values(url, query).values()) == ([] if value is None else [value])


def test_a_query_that_is_none_is_a_trouble_of_its_own(url: str) -> None:
    observed = _asked(url, {"queue": "sum(shop_queue)", "broken": "sum(", "odd": "shop_queue[5m]"})
    assert [(one.metric, one.value) for one in observed.observations] == [("queue", 7.5)]
    assert [one.split(":")[0] for one in observed.troubles] == ["broken", "odd"]


def test_a_server_that_has_ended_does_not_answer(tmp_path: Path) -> None:
    with paged_server({"/metrics": PAGE}) as shop, prometheus_server(tmp_path, shop.url) as url:
        target = PrometheusTarget("shop", url, {"up": "count(up)"}, SystemClock())
        target.observe(time.time(), 5.0)
    with pytest.raises(UnavailableError, match="the Prometheus server shop"):
        target.observe(time.time(), 5.0)
