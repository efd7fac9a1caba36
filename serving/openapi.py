"""The OpenAPI document of the data path, for people, generated clients and tests."""

from __future__ import annotations

import orjson

from config.settings import ServingSettings

_Json = dict[str, object]


def document(settings: ServingSettings) -> bytes:
    """Return the document as JSON."""
    return orjson.dumps({})
