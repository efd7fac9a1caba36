"""Cuts lists into pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from config.errors import InputError

Item = TypeVar("Item")


def page_of(
    found: Sequence[Item], name: Callable[[Item], str], after: str | None, limit: int
) -> tuple[Sequence[Item], str | None]:
    """Return a page of a list, and the `after` of the next one; None on the last page.

    Args:
        found: the whole list.
        name: what an item is called as a cursor.
        after: the last item of the page before.
        limit: the most items.

    Raises:
        InputError: there is no item `after` (any more).
    """
    start = 0
    if after is not None:
        names = [name(item) for item in found]
        if after not in names:
            raise InputError(
                f"there is nothing {after!r} to go on after; begin with the first page"
            )
        start = names.index(after) + 1
    page = found[start : start + limit]
    more = start + limit < len(found)
    return page, name(page[-1]) if more and page else None
