"""What one tick did, for the log and for the page of a flow run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Row = dict[str, str | float | int | None]


@dataclass(frozen=True, slots=True)
class Summary:
    """A sentence, and the details in rows."""

    text: str
    rows: Sequence[Row] = ()

    @classmethod
    def of(cls, words: Sequence[str], *, empty: str) -> Summary:
        """Sum up things done, one in each of `words`; `empty` says that there were none."""
        rows: list[Row] = [{"what": one} for one in words]
        return cls(f"{len(words)} things done" if words else empty, rows)
