"""One filter that keeps secrets out of logs, run parameters and records.

What is masked: credentials inside URLs, bearer and basic authorisation values, and the value of
any key whose name says that it is a secret. What is not promised: finding a secret that stands
alone, under a harmless name and without any mark of what it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

MASK = "***"

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|api[-_]?key|access[-_]?key|private[-_]?key|credential"
    r"|authori[sz]ation|cookie|(^|[-_])pwd$|(^|[-_])auth$",
    re.IGNORECASE,
)
# No pattern begins with an open repetition: a text is searched in time linear in its length.
_URL_USERINFO = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.\-]{0,30}://)[^/\s?#@'\"]*(?:@[^/\s?#@'\"]*)*@", re.I
)
_AUTH_VALUE = re.compile(r"\b(?P<kind>bearer|basic)\s+[A-Za-z0-9._~+/=\-]{4,}", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"(?P<name>(?:pass(?:word|wd|phrase)?|secret|token|api[-_]?key"
    r"|access[-_]?key|private[-_]?key|credentials?|authorization|cookie)[\"']?\s*[=:]\s*)"
    r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&\"'}\]]+)",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Tell whether a key's name says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Return `text` with every secret it gives away replaced by `***`."""
    text = _URL_USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _AUTH_VALUE.sub(rf"\g<kind> {MASK}", text)
    return _ASSIGNMENT.sub(_mask_assignment, text)


def _mask_assignment(match: re.Match[str]) -> str:
    value = match["value"]
    if value.lower() in {"bearer", "basic"}:  # its secret half is masked already
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match['name']}{quote}{MASK}{quote}"


def redact_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of `values` in which secret names are masked and other texts redacted."""
    return {
        name: MASK if is_secret_name(name) and value else redact(value)
        for name, value in values.items()
    }


class RedactionFilter(logging.Filter):
    """Redacts the finished message of a log record, arguments and traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the record's text; every record passes."""
        record.msg = redact(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
