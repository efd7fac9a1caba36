"""Assertions that speak in sentences; they hold under `python -O` too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,99}$")


def require(kept: object, sentence: str) -> None:
    """Raise AssertionError with the sentence unless the promise was kept."""
    if not kept:
        raise AssertionError(sentence)


def require_name(name: object, what: str) -> None:
    """Require a name as settings, metrics and URLs can carry it."""
    fits = isinstance(name, str) and _NAME.fullmatch(name)
    require(fits, f"{what} is {name!r}; use lower case, digits, '.', '_' and '-'")


def require_unique(names: Iterable[object], what: str) -> None:
    """Require that nothing is there twice."""
    seen: set[object] = set()
    for name in names:
        require(name not in seen, f"{what} {name!r} is there twice")
        seen.add(name)


def require_raises(
    kinds: type[Exception] | tuple[type[Exception], ...], call: Callable[[], T], sentence: str
) -> None:
    """Require that a call raises an error of one of these kinds."""
    try:
        call()
    except kinds:
        return
    except Exception as error:
        raise AssertionError(
            f"{sentence}, but it raised {type(error).__name__}: {error}"
        ) from error
    raise AssertionError(f"{sentence}, but it raised nothing")
