"""Records what traffic each model gets (`registry.traffic`), for whoever tunes it.

The data path packs one record and notes the inputs; the rest is done once a second beside it. A
folder that cannot be written costs the recording and nothing else, and is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from time import monotonic

from registry.traffic import MOST_INPUTS, TrafficRing, forget_inputs, tidy, write_input
from serving.tensors import Feeds

_log = logging.getLogger("prime_spark.serving")

# An input larger than this is not kept; smaller ones are written as slowly as they are large.
_MOST_INPUT_BYTES = 1024 * 1024
_BYTES_PER_SECOND = 64 * 1024
_INPUT_S = 1.0


class Recording:
    """The recording of one model; `add` and `latest` are used for every request."""

    __slots__ = ("add", "latest", "next_input", "ring", "slot")

    def __init__(self, ring: TrafficRing) -> None:
        self.ring = ring
        self.add: Callable[[float, int, int, int], None] = ring.add
        self.latest: Feeds | None = None
        self.slot = 0
        self.next_input = 0.0


class Recordings:
    """The recordings of one worker; used on the event loop.

    Args:
        folder: where they are kept.
        worker: this worker's unique name.
        entries: requests kept for each model; 0 records nothing.
        executor: writes inputs.
    """

    def __init__(self, folder: Path, worker: str, entries: int, executor: Executor) -> None:
        self._folder = folder
        self._worker = worker
        self._entries = entries
        self._executor = executor
        self._by_model: dict[str, Recording] = {}
        self._failed: set[str] = set()
        self._told = False
        if entries:
            with suppress(OSError):
                tidy(folder)

    def of(self, model: str) -> Recording | None:
        """Return the recording of a model, begun if need be; None: it is not recorded."""
        found = self._by_model.get(model)
        if found is not None or not self._entries or model in self._failed:
            return found
        try:
            ring = TrafficRing(self._folder, model, self._worker, self._entries)
        except OSError as error:
            self._failed.add(model)
            self._tell(error)
            return None
        recording = self._by_model[model] = Recording(ring)
        return recording

    def keep(self, models: Collection[str]) -> None:
        """End the recordings of all other models."""
        for model in [model for model in self._by_model if model not in models]:
            self._by_model.pop(model).ring.close()
            self._executor.submit(forget_inputs, self._folder, model, self._worker)

    def flush(self) -> None:
        """Write what was recorded since the last time, and a recent input where it is time."""
        for model, recording in self._by_model.items():
            recording.ring.flush()
            if recording.ring.trouble is not None:
                self._tell(recording.ring.trouble)
            self._keep_input(model, recording)

    def close(self) -> None:
        """Take this worker's files away."""
        for model, recording in self._by_model.items():
            recording.ring.close()
            forget_inputs(self._folder, model, self._worker)
        self._by_model = {}

    def _keep_input(self, model: str, recording: Recording) -> None:
        feeds, now = recording.latest, monotonic()
        if feeds is None or now < recording.next_input:
            return
        recording.latest = None
        size = sum(array.nbytes for array in feeds.values())
        if size > _MOST_INPUT_BYTES:
            return
        recording.next_input = now + max(_INPUT_S, size / _BYTES_PER_SECOND)
        recording.slot = (recording.slot + 1) % MOST_INPUTS
        self._executor.submit(self._write_input, model, recording.slot, feeds)

    def _write_input(self, model: str, slot: int, feeds: Feeds) -> None:
        with suppress(OSError, ValueError, TypeError):
            write_input(self._folder, model, self._worker, slot, feeds)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            _log.warning(
                "traffic is not recorded completely in %s (%s); requests are served all the same",
                self._folder,
                error.strerror or error,
            )
