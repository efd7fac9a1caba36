"""Where the API may listen, and what its answers never hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.settings import ApiSettings
from serving.api.gate import is_loopback, refuse_exposure
from serving.api.texts import clean, encoded


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_loopback_needs_nothing_more(host: str) -> None:
    refuse_exposure(ApiSettings(host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.example.org", "2130706433"]
)
def test_elsewhere_is_refused_without_tls(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="without TLS"):
        refuse_exposure(ApiSettings(host=host))


def test_elsewhere_is_allowed_with_tls_or_when_it_is_said(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    refuse_exposure(ApiSettings(host="0.0.0.0", tls_certificate=pem, tls_key=pem))
    refuse_exposure(ApiSettings(host="0.0.0.0", allow_remote=True))


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="go together"):
        refuse_exposure(ApiSettings(host="0.0.0.0", tls_certificate=tmp_path / "x.pem"))


def test_secrets_and_nan_do_not_leave() -> None:
    answer = clean(
        {
            "url": "postgresql://ann:pw@host/db",
            "password": "pw",
            "list": ["Bearer abcdefgh", float("nan")],
            "number": 1,
        }
    )
    assert answer == {
        "url": "postgresql://***@host/db",
        "password": "***",
        "list": ["Bearer ***", None],
        "number": 1,
    }


def test_half_a_character_can_be_sent() -> None:
    assert json.loads(encoded({"x": "a\ud800b"})) == {"x": "a?b"}
