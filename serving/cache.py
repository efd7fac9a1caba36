"""Answers already computed, by input: bounded in number and in bytes, oldest use leaves first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from serving.batches import Outputs
from serving.knobs import Knobs
from serving.tensors import Feeds

# What Python keeps beside the bytes themselves for one entry, roughly.
_ENTRY_OVERHEAD = 400
_TRIMMED_AT_ONCE = 2000


@dataclass(slots=True)
class CacheCounts:
    """Hits and misses since the version was loaded."""

    hits: int = 0
    misses: int = 0


def cache_key(feeds: Feeds) -> tuple[object, ...]:
    """Return a key that only equal inputs share: names, shapes and all bytes (no hash of them)."""
    return tuple(
        (name, array.shape, array.tobytes() if array.dtype.kind != "O" else tuple(array.ravel()))
        for name, array in feeds.items()
    )


class PredictionCache:
    """The cache of one loaded version; it goes when the version goes.

    Its capacity follows the knob `cache_entries` on every use; 0 switches it off and empties it.
    """

    __slots__ = ("_bytes", "_entries", "_knobs", "_max_bytes", "counts")

    def __init__(self, knobs: Knobs, max_bytes: int) -> None:
        self._knobs = knobs
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[object, ...], tuple[Outputs, int]] = OrderedDict()
        self._bytes = 0
        self.counts = CacheCounts()

    @property
    def enabled(self) -> bool:
        """True while the knob allows any entry."""
        return self._knobs.cache_entries > 0

    @property
    def entries(self) -> int:
        """The number of answers held."""
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """The bytes held, estimated from inputs and outputs."""
        return self._bytes

    def get(self, key: tuple[object, ...]) -> Outputs | None:
        """Return the outputs for these inputs, or None."""
        found = self._entries.get(key)
        if found is None:
            self.counts.misses += 1
            return None
        self._entries.move_to_end(key)
        self.counts.hits += 1
        return found[0]

    def put(self, key: tuple[object, ...], feeds: Feeds, outputs: Outputs) -> None:
        """Keep an answer, unless it alone is larger than the cache."""
        size = _ENTRY_OVERHEAD + sum(array.nbytes for array in (*feeds.values(), *outputs))
        if size > self._max_bytes:
            return
        # Rows of a joined run are views: a copy keeps the whole batch from staying in memory.
        owned = [array.copy() if array.base is not None else array for array in outputs]
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old[1]
        self._entries[key] = (owned, size)
        self._bytes += size
        self.trim()

    def trim(self, most: int = _TRIMMED_AT_ONCE) -> bool:
        """Drop what is over the limits, at most `most` entries; True when there is more to drop.

        Dropping a million answers at once would hold up all requests for a second.
        """
        for _ in range(most):
            if not self._over:
                return False
            _, (_, size) = self._entries.popitem(last=False)
            self._bytes -= size
        return self._over

    @property
    def _over(self) -> bool:
        return bool(self._entries) and (
            len(self._entries) > self._knobs.cache_entries or self._bytes > self._max_bytes
        )

    def drop(self) -> OrderedDict[tuple[object, ...], tuple[Outputs, int]]:
        """Empty the cache; returns what was in it, to be freed wherever there is time for it."""
        held, self._entries, self._bytes = self._entries, OrderedDict(), 0
        return held
