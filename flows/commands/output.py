"""How commands answer: a table for people, JSON for programs, one sentence for mistakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from config.errors import (
    ConfigError,
    ConflictError,
    HandedOver,
    InputError,
    PrimeSparkError,
    UnavailableError,
)
from config.redaction import redact

EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2
EXIT_CONFLICT = 3
EXIT_UNAVAILABLE = 4
EXIT_HANDED_OVER = 5
EXIT_INTERRUPTED = 130

EXIT_CODES_HELP = (
    "Exit codes: 0 done · 1 failed, or a problem was found · 2 wrong command, setting or input · "
    "3 not what was expected, nothing was changed · 4 a server does not answer · "
    "5 in doubt, a person has to look"
)

_PIPE_WIDTH = 160
_LAST_COLUMN = 24  # the last column is the one with a sentence in it

_CODES: tuple[tuple[type[PrimeSparkError], int], ...] = (
    (ConfigError, EXIT_WRONG_INPUT),
    (InputError, EXIT_WRONG_INPUT),
    (ConflictError, EXIT_CONFLICT),
    (UnavailableError, EXIT_UNAVAILABLE),
    (HandedOver, EXIT_HANDED_OVER),
)


def exit_code(error: PrimeSparkError) -> int:
    """Return the exit code that tells what kind of error it was."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), EXIT_FAILED)


def complain(text: str) -> None:
    """Write one sentence to standard error, secrets masked."""
    sys.stderr.write(f"prime-spark: {redact(text)}\n")


def write_json(value: object) -> None:
    """Write records as JSON to standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: object) -> object:
    """Return records, enums, times and paths as what JSON knows; secrets in texts are masked."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return _plain_leaf(value)


def _plain_leaf(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return redact(value) if isinstance(value, str) else value


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    unbroken: Collection[str] = (),
) -> None:
    """Write a table to standard output, or the sentence `empty` if there are no rows.

    The columns `unbroken` are never wrapped, so that what stands in them can be copied.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in columns[:-1]:
        table.add_column(name, overflow="fold", no_wrap=name in unbroken)
    table.add_column(columns[-1], overflow="fold", ratio=1, min_width=_LAST_COLUMN)
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    if table.row_count:
        console.print(table)
    else:
        console.print(Text(empty))


def cell(value: object) -> str:
    """Return a value as a reader wants to see it in a table."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return redact(str(plain(value)))
