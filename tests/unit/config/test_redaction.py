from __future__ import annotations

import logging
import sys

import pytest

from config.redaction import MASK, RedactionFilter, redact, redact_mapping

_SECRET = "hunter2Hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{_SECRET}@db:5432/x",
        f"connect to https://{_SECRET}@git.example/x failed",
        f"http://user:pa@ss{_SECRET}@host/",
        f"Authorization: Bearer {_SECRET}",
        f"authorization=Basic {_SECRET}",
        f"{{'api_key': '{_SECRET}'}}",
        f'{{"password": "{_SECRET}", "port": 1}}',
        f'{{"db_password": "two words {_SECRET}"}}',
        f"AWS_SECRET_ACCESS_KEY={_SECRET}",
        f"MLFLOW_TRACKING_TOKEN={_SECRET} python x.py",
        f"https://host/x?token={_SECRET}&page=2",
        f"Cookie: session={_SECRET}",
        f"client_secret : {_SECRET}",
        f"GITHUB_TOKEN: {_SECRET}",
        f"passphrase={_SECRET}",
        f"--api-key={_SECRET}",
        f"private-key={_SECRET}",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    assert _SECRET not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "version 3 of digits is champion",
        "http://127.0.0.1:4200/api/health",
        "max_tokens=512",
        "mail me@example.com",
        "the password is wrong",
        "latency_ms: 3.5",
        "sqlite:////home/me/.prime-spark/ledger.db",
        "",
    ],
)
def test_harmless_texts_are_left_alone(text: str) -> None:
    assert redact(text) == text


def test_what_stands_around_a_secret_stays() -> None:
    assert redact("to postgresql://me:x@db:5432/y now") == f"to postgresql://{MASK}@db:5432/y now"
    assert redact("?token=abc&page=2") == f"?token={MASK}&page=2"
    assert redact("token='a b', port=1") == f"token='{MASK}', port=1"


def test_a_mapping_is_masked_by_its_names_too() -> None:
    masked = redact_mapping(
        {"password": "x", "db.api_key": "y", "url": "http://a:b@c/", "rows": "3", "token": ""}
    )
    assert masked == {
        "password": MASK,
        "db.api_key": MASK,
        "url": f"http://{MASK}@c/",
        "rows": "3",
        "token": "",
    }


@pytest.fixture
def record() -> logging.LogRecord:
    message = "cannot reach %s with %s"
    args = (f"http://me:{_SECRET}@host/", {"token": _SECRET})
    return logging.LogRecord("x", logging.ERROR, "x.py", 1, message, args, None)


def test_log_records_are_masked_with_their_arguments(record: logging.LogRecord) -> None:
    assert RedactionFilter().filter(record)
    shown = logging.Formatter().format(record)
    assert _SECRET not in shown
    assert "cannot reach" in shown


def test_tracebacks_are_masked() -> None:
    try:
        int(f"http://me:{_SECRET}@host/")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())
    RedactionFilter().filter(record)
    shown = logging.Formatter().format(record)
    assert _SECRET not in shown
    assert "ValueError" in shown
