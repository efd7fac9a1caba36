"""Silent, slow, broken and overwhelming servers: a clear error, in time, for every target."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable

import pytest

from config.clock import SystemClock
from config.errors import RegistryUnavailable, UnavailableError
from optimizers.targets.base import Target
from optimizers.targets.http_source import HttpSource, PageMissing
from optimizers.targets.mlflow import MlflowTarget
from optimizers.targets.prefect import PrefectTarget
from optimizers.targets.prometheus import PrometheusTarget
from optimizers.targets.registry import RegistryTarget
from optimizers.targets.serving import ServingTarget
from registry.rest import RestClient
from tests.services.bad_servers import (
    Behaviour,
    answers,
    dripping,
    gibberish,
    hanging_up,
    keeping_for_one,
    misbehaving,
    silent,
)
from tests.services.processes import LOOPBACK, free_port

TIMEOUT_S = 0.5
PACKED = gzip.compress(bytes(10_000_000))
CLOCK = SystemClock()

TARGETS: dict[str, Callable[[str], Target]] = {
    "serving": lambda url: ServingTarget(url, CLOCK),
    "registry": lambda url: RegistryTarget(url, CLOCK, timeout_s=TIMEOUT_S),
    "mlflow": lambda url: MlflowTarget(url, CLOCK),
    "prefect": lambda url: PrefectTarget(f"{url}/api", CLOCK, "pool"),
    "prometheus": lambda url: PrometheusTarget("prometheus", url, {"up": "up", "x": "x"}, CLOCK),
}


def packed(connection: socket.socket) -> None:
    """Answer with a small body that unpacks into a huge one."""
    connection.recv(2**16)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(PACKED)}\r\n\r\n"
    connection.sendall(head.encode() + PACKED)


BEHAVIOURS: dict[str, Behaviour] = {
    "silent": silent,
    "dripping": dripping,
    "hanging up": hanging_up,
    "gibberish": gibberish,
    "failing": answers(b"oops", "500 Internal Server Error"),
    "forbidding": answers(b"no", "403 Forbidden"),
    "empty": answers(b""),
    "not JSON": answers(b"<html>hello</html>"),
    "other JSON": answers(b'{"status": "success", "data": 7, "registered_models": [4]}'),
    "NaN": answers(b"NaN"),
    "deep": answers(b"[" * 200_000),
    "half": answers(b'{"a": '),
    "not text": answers(b"\xff\xfe\x00\x00"),
    "huge": answers(b"x" * 70_000_000),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_bad_server_is_given_up_in_time_with_a_sentence(behaviour: str, target: str) -> None:
    with misbehaving(BEHAVIOURS[behaviour]) as url:
        made = TARGETS[target](url)
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="check that it is up"):
            made.observe(time.time(), TIMEOUT_S)
        assert time.monotonic() - begun < TIMEOUT_S + 2.0


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "registry"])
def test_another_server_at_the_address_is_told_apart(target: str) -> None:
    elsewhere = answers(b"what?", "404 Not Found")
    with misbehaving(elsewhere) as url, pytest.raises(PageMissing, match="check its address"):
        TARGETS[target](url).observe(time.time(), TIMEOUT_S)


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "registry"])
def test_a_packed_answer_is_not_unpacked(target: str) -> None:
    with misbehaving(packed) as url, pytest.raises(UnavailableError, match="packed"):
        TARGETS[target](url).observe(time.time(), TIMEOUT_S)


@pytest.mark.parametrize("reset", [False, True])
def test_a_kept_connection_that_the_server_closes_is_no_trouble(*, reset: bool) -> None:
    with misbehaving(keeping_for_one(b"{}", reset=reset)) as url:
        source = HttpSource("a server", url, CLOCK)
        registry = RestClient(url, TIMEOUT_S, environ={})
        for _ in range(3):
            assert source.get_json("/", source.deadline(TIMEOUT_S)) == {}
            assert registry.get("registered-models/search", {}, dict) == {}
        with pytest.raises(RegistryUnavailable):
            registry.send("POST", "registered-models/create", {"name": "not sent twice"})


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_there_is_a_clear_error_without_the_password(target: str) -> None:
    made = TARGETS[target](f"http://user:hunter2@{LOOPBACK}:{free_port()}")
    with pytest.raises(UnavailableError) as caught:
        made.observe(time.time(), TIMEOUT_S)
    assert "hunter2" not in str(caught.value)
