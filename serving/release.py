"""Gives memory back when asked to: the knob `release_memory` is a counter, and each rise one wish.

Garbage is collected, freed memory of the heap returned to the system, and the page cache of model
files forgotten that this predictor does not serve.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Collection
from pathlib import Path

from serving.memory import drop_cached, trim_heap

_log = logging.getLogger("prime_spark.serving")


class Release:
    """Follows the counter; used by one thread, beside the event loop.

    Args:
        model_cache: the folder of our own model files; no other file is touched.
    """

    def __init__(self, model_cache: Path) -> None:
        self._model_cache = model_cache
        self._counter: float | None = None

    def follow(self, counter: float, served: Collection[Path]) -> bool:
        """Release memory if the counter has risen since the last call; True when it did.

        The first value is where a worker begins: it has nothing to give back yet.
        """
        before, self._counter = self._counter, counter
        if before is None or counter <= before:
            return False
        gc.collect()
        if not trim_heap():
            _log.warning("freed memory stays with this process: its C library cannot return it")
        try:
            files = [path for path in self._model_cache.iterdir() if path.is_file()]
        except OSError:
            files = []
        drop_cached(path for path in files if path not in served)
        _log.info("memory was given back as asked")
        return True
