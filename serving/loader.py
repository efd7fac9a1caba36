"""Loads models: one at a time over all workers of a home, and only where they fit into memory.

What a model needs is what it took last time, at least twice its file: onnxruntime holds the file's
contents and its own copy of the weights for a moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from config.errors import UnavailableError
from registry.records import ModelFile
from serving.knobs import SessionOptions
from serving.loaded import WarmModel, warm_up
from serving.memory import MemoryFiles, available_bytes, own_bytes

_FILE_FACTOR = 2
_FIRST_FACTOR = 3
# Left to everybody else.
_RESERVE = 64 * 1024 * 1024
_MEGABYTE = 1024 * 1024
_AGAIN_S = 1.0
_LOOK_S = 0.01


class Loader:
    """Used from any thread that may wait.

    Args:
        lock_file: the same for all workers that share the machine's memory.
        memory: where to read how much of it there is.
        patience_s: longest wait for another worker that loads.
    """

    def __init__(
        self, lock_file: Path, memory: MemoryFiles | None = None, patience_s: float = 60.0
    ) -> None:
        self._lock_file = lock_file
        self._patience_s = patience_s
        self._memory = memory or MemoryFiles()
        self._mutex = threading.Lock()
        self._took: dict[str, int] = {}

    def load(self, file: ModelFile, options: SessionOptions) -> WarmModel:
        """Open a model file and warm it up.

        Raises:
            ModelRefused: onnxruntime does not take it.
            UnavailableError: there is not enough memory for it now.
        """
        with self._mutex, self._alone():
            self._check(file)
            before = own_bytes(self._memory)
            warm = warm_up(file, options)
            after = own_bytes(self._memory)
        if before is not None and after is not None:
            self._took[file.digest] = max(after - before, self._took.get(file.digest, 0))
        return warm

    def _check(self, file: ModelFile) -> None:
        available = available_bytes(self._memory)
        if available is None:
            return
        need = self._need(file) + _RESERVE
        if available < need:
            raise UnavailableError(
                f"{file.model} {file.version} needs {need / _MEGABYTE:.0f} MB of memory and "
                f"{available / _MEGABYTE:.0f} MB are free; free some, or raise the limit",
                retry_after_s=_AGAIN_S,
            )

    def _need(self, file: ModelFile) -> int:
        try:
            size = file.path.stat().st_size
        except OSError:
            return 0  # opening it tells why
        took = self._took.get(file.digest)
        return _FIRST_FACTOR * size if took is None else max(took, _FILE_FACTOR * size)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other workers from counting on the same memory meanwhile.

        Neither a folder that cannot be written nor a worker that was stopped while it loads keeps
        models from being served for good.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self._lock_file, flags, 0o600)
        except OSError:
            yield
            return
        try:
            by = time.monotonic() + self._patience_s
            while not _locked(descriptor) and time.monotonic() < by:
                time.sleep(_LOOK_S)
            yield
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
