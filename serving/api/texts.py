"""JSON as it leaves the API: secrets masked, no NaN, and always text that can be sent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from config.redaction import MASK, is_secret_name, redact


def clean(value: object) -> object:
    """Return a JSON value with its secrets masked; NaN and infinity become null."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _cleaned(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cleaned(name: str, value: object) -> object:
    if isinstance(value, str) and value and is_secret_name(name):
        return MASK
    return clean(value)


def encoded(value: object) -> bytes:
    """Return JSON bytes; half a surrogate pair, which UTF-8 cannot carry, becomes `?`."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


class CleanJson(JSONResponse):
    """An answer without secrets."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - the base class takes anything
        """Return the body."""
        return encoded(clean(content))


class ProblemJson(CleanJson):
    """An error as RFC 9457 describes it."""

    media_type = "application/problem+json"
