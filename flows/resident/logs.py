"""The agent's log: text or JSON lines with action ids, rotated, closed to other users, redacted."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from config.errors import ConfigError
from config.redaction import RedactionFilter
from config.settings import AgentSettings

LOG_FILE = "agent.log"
ROOT = "prime_spark"

_EXTRAS = ("action", "type", "target", "state")
_TEXT = "%(asctime)s %(levelname)s %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, and what the record says of an action."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)}
        if record.exc_text or record.exc_info:
            line["traceback"] = record.exc_text or self.formatException(record.exc_info or ())  # type: ignore[arg-type]
        return json.dumps(line, ensure_ascii=False, default=str)


class _ClosedRotatingHandler(logging.handlers.RotatingFileHandler):
    """Every file it opens is readable by its owner only."""

    def _open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the library's own signature
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, self.mode, encoding="utf-8")


def install(settings: AgentSettings, folder: Path, *, to_terminal: bool) -> logging.Handler:
    """Write what Prime Spark logs to `<folder>/agent.log`, and to standard error if asked.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = folder / LOG_FILE
    try:
        handler: logging.Handler = _ClosedRotatingHandler(
            path,
            maxBytes=int(settings.log_max_mb * 1e6),
            backupCount=settings.log_files,
            encoding="utf-8",
        )
    except OSError as error:
        raise ConfigError(
            f"cannot write the log {path} ({error.strerror}); check its permissions, or set home: "
            "to a directory you may write to"
        ) from error
    handlers = [handler]
    if to_terminal:
        handlers.append(logging.StreamHandler(sys.stderr))
    root = logging.getLogger(ROOT)
    for one in handlers:
        one.setFormatter(formatter(settings))
        one.addFilter(RedactionFilter())
        root.addHandler(one)
    root.setLevel(logging.INFO)
    root.propagate = False
    return handler


def formatter(settings: AgentSettings) -> logging.Formatter:
    """Return what turns a record into a line."""
    return JsonFormatter() if settings.log_format == "json" else logging.Formatter(_TEXT)
