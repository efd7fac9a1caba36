"""MLflow down, slow, broken or something else: RegistryUnavailable, and within the time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import ConfigError, InputError, RegistryUnavailable, UnknownModel, UnknownVersion
from registry.alias_client import AliasClient
from registry.reader import RegistryReader
from tests.services.bad_servers import (
    Behaviour,
    answers,
    dripping,
    gibberish,
    hanging_up,
    misbehaving,
    silent,
)
from tests.services.processes import free_port

LIMIT_S = 0.5
# The limit once for each of the waits a call consists of, and room for a busy machine.
PATIENCE_S = 3 * LIMIT_S + 2.0

CALLS: list[Callable[[str, Path], object]] = [
    lambda uri, path: RegistryReader(uri, path, timeout_s=LIMIT_S).models(),
    lambda uri, path: RegistryReader(uri, path, timeout_s=LIMIT_S).aliases("digits"),
    lambda uri, path: RegistryReader(uri, path, timeout_s=LIMIT_S).versions("digits"),
    lambda uri, path: RegistryReader(uri, path, timeout_s=LIMIT_S).fetch("digits", 1),
    lambda uri, _: AliasClient(uri, timeout_s=LIMIT_S).set_alias("digits", "champion", 1),
    lambda uri, _: AliasClient(uri, timeout_s=LIMIT_S).delete_alias("digits", "champion"),
]
NAMES = ["models", "aliases", "versions", "fetch", "set", "delete"]


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
@pytest.mark.parametrize(
    "behave",
    [
        silent,
        dripping,
        hanging_up,
        gibberish,
        answers(b"oops", "500 Internal Server Error"),
        answers(b'{"error_code": "INTERNAL_ERROR", "message": "x"}', "503 Unavailable"),
        answers(b"<html>a wiki</html>"),
        answers(b"<html>not here</html>", "404 Not Found"),
        answers(b"[1, 2]"),
        answers(b"", "401 Unauthorized"),
        answers(b"{" * 5000),
    ],
)
def test_whatever_is_wrong_is_unavailable_in_time(
    behave: Behaviour, call: Callable[[str, Path], object], tmp_path: Path
) -> None:
    with misbehaving(behave) as uri:
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable) as caught:
            call(uri, tmp_path)
        assert time.monotonic() - started < PATIENCE_S
        assert uri in str(caught.value)


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_a_server_that_is_down_is_unavailable(
    call: Callable[[str, Path], object], tmp_path: Path
) -> None:
    with pytest.raises(RegistryUnavailable, match="check that it is up"):
        call(f"http://127.0.0.1:{free_port()}", tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        b'{"registered_models": [{"name": "a", "aliases": 5}]}',
        b'{"registered_models": [7]}',
        b'{"registered_models": [{"aliases": [{"alias": "x", "version": "one"}], "name": "a"}]}',
    ],
)
def test_fields_of_another_kind_are_unavailable(body: bytes, tmp_path: Path) -> None:
    with misbehaving(answers(body)) as uri, pytest.raises(RegistryUnavailable, match="fields"):
        RegistryReader(uri, tmp_path).models()


def test_mlflow_own_words_are_understood(tmp_path: Path) -> None:
    code = b'{"error_code": "%s", "message": "%s"}'
    cases: list[tuple[bytes, type[Exception]]] = [
        (code % (b"RESOURCE_DOES_NOT_EXIST", b"Registered Model x not found"), UnknownModel),
        (code % (b"RESOURCE_DOES_NOT_EXIST", b"Model Version x not found"), UnknownVersion),
        (code % (b"INVALID_PARAMETER_VALUE", b"no"), InputError),
    ]
    for body, kind in cases:
        with misbehaving(answers(body, "400 Bad Request")) as uri, pytest.raises(kind):
            RegistryReader(uri, tmp_path).aliases("x")


def test_credentials_are_sent_and_never_shown(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def listen(connection: object) -> None:
        seen.append(connection.recv(2**16))  # type: ignore[attr-defined]
        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]

    with misbehaving(listen) as uri:
        for environ in (
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "geheim"},
            {"MLFLOW_TRACKING_TOKEN": "geheim"},
            {},
        ):
            with pytest.raises(RegistryUnavailable) as caught:
                RegistryReader(
                    uri.replace("://", "://u:geheim@") if not environ else uri,
                    tmp_path,
                    environ=environ,
                ).models()
            assert "geheim" not in str(caught.value)
    # "me:geheim" and "u:geheim" in base 64.
    for request, value in zip(
        seen, (b"bWU6Z2VoZWlt", b"Bearer geheim", b"dTpnZWhlaW0="), strict=True
    ):
        assert value in request


@pytest.mark.parametrize("uri", ["", "mlruns", "file:///tmp/x", "sqlite:///x.db"])
def test_an_address_that_is_no_server_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mlflow\.tracking_uri"):
        RegistryReader(uri, tmp_path)
