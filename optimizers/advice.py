"""Stable names of advice: the same cause gives the same id, whoever asks and whenever. Pure."""

from __future__ import annotations

import hashlib

from registry.agent_records import canonical_json

_DIGITS = 16


def advice_id(kind: str, target: str, *cause: str | float | bool) -> str:
    """Return the id of advice: what is to be done, where, and what for.

    The cause names what calls for it (a knob and its wanted value, a model and its version), never
    a reading or a time, or the same advice would come back under another id.
    """
    text = canonical_json([kind, target, *cause])
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}"
