"""Recent traffic of the predictor's workers, on disk: what came when, and a few real inputs.

Each worker keeps, for each model, a ring of its latest requests in a file of its own. A request
costs it one packed record in a small buffer; full buffers, and once a second what is in them, go to
the file. (A mapped file would be killed with SIGBUS by a full disk; writing gives an error.)
Readers take no lock: what a writer may be overwriting at the moment is left out.

Files are readable by their owner only, sparse, and named by a digest of the model's name. Their
worker holds a lock on them, by which the files of dead workers are told from those in use.

Not promised: the last second before a worker is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_log = logging.getLogger("prime_spark.traffic")

RECORD = np.dtype([("at", "<f8"), ("key", "<u8"), ("rows", "<u4"), ("version", "<u4")])
"""A request: epoch seconds of its arrival, a hash of its input (0 while the cache is off; the same
input has another hash in another worker), its rows, and the version that was to answer it."""

Inputs = Mapping[str, NDArray[np.generic]]

BUFFERED = 1024
"""Records that are held before they are written."""

MOST_INPUTS = 16
"""Inputs of a model that a worker keeps."""

_RECORD = struct.Struct("<dQII")  # 24 bytes
_LAST = (BUFFERED - 1) * _RECORD.size
_HEAD = struct.Struct("<8sIQI")  # magic, slots, records so far, bytes of the description
_COUNT_AT = 12
_MAGIC = b"PSTRAFF1"
_HEAD_BYTES = 4096
_MOST_SLOTS = 2**24
_MOST_RECORDS = 2**62
_MOST_FILE_BYTES = 16 * 1024 * 1024
_RING, _INPUT = ".ring", ".npz"


class TrafficRing:
    """One worker's recent requests for one model; used by one thread at a time.

    Args:
        folder: where the files of all workers are; made if it is missing.
        entries: how many of the latest requests are kept.

    Attributes:
        trouble: why the last write failed; what was buffered then is gone. None while all is well.

    Raises:
        OSError: the folder or the file cannot be made.
    """

    __slots__ = (
        "_buffer",
        "_descriptor",
        "_pack",
        "_path",
        "_slots",
        "_used",
        "_written",
        "trouble",
    )

    def __init__(self, folder: Path, model: str, worker: str, entries: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"{_stem(model, worker)}{_RING}"
        # Readers leave out what the next flush may overwrite.
        self._slots = entries + BUFFERED
        self._buffer = bytearray(BUFFERED * _RECORD.size)
        self._pack = _RECORD.pack_into
        self._used = 0  # bytes
        self._written = 0  # records
        self.trouble: OSError | None = None
        described = json.dumps({"model": model, "worker": worker}, ensure_ascii=False).encode()
        head = _HEAD.pack(_MAGIC, self._slots, 0, len(described)) + described
        with _alone(folder):
            self._descriptor = _created(self._path)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self._descriptor, _HEAD_BYTES + self._slots * _RECORD.size)
                os.pwrite(self._descriptor, head[:_HEAD_BYTES], 0)
            except OSError:
                self.close()
                raise

    def add(self, at: float, key: int, rows: int, version: int) -> None:
        """Keep one request."""
        used = self._used
        self._pack(self._buffer, used, at, key, rows, version)
        self._used = used + 24
        if used == _LAST:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered, so that readers see it."""
        used, self._used = self._used, 0
        if used == 0:
            return
        try:
            self._write(memoryview(self._buffer)[:used])
        except OSError as error:
            self.trouble = error
        else:
            self.trouble = None
            self._written += used // _RECORD.size

    def _write(self, records: memoryview) -> None:
        size = _RECORD.size
        first = self._written % self._slots
        before_end = (self._slots - first) * size
        self._put(records[:before_end], _HEAD_BYTES + first * size)
        self._put(records[before_end:], _HEAD_BYTES)
        self._put(struct.pack("<Q", self._written + len(records) // size), _COUNT_AT)

    def _put(self, data: bytes | memoryview, at: int) -> None:
        if data and os.pwrite(self._descriptor, data, at) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Take the file away; what is added afterwards goes nowhere."""
        _unlink(self._path)
        # Requests under way may still add: never to whatever file gets this descriptor next.
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def write_input(folder: Path, model: str, worker: str, slot: int, inputs: Inputs) -> None:
    """Leave a recent input of a model for readers, in place of the worker's last one in that slot.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {
        str(place): array.astype(str) if array.dtype.kind == "O" else array
        for place, array in enumerate(inputs.values())
    }
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, names=np.array(json.dumps(list(inputs))), **arrays)
    path = folder / f"{_stem(model, worker)}.{slot % MOST_INPUTS}{_INPUT}"
    draft = path.with_suffix(".draft")
    with os.fdopen(_created(draft), "wb") as stream:
        stream.write(packed.getbuffer())
    draft.replace(path)


def forget_inputs(folder: Path, model: str, worker: str) -> None:
    """Take a worker's inputs of a model away."""
    for path in _files(folder, f"{_stem(model, worker)}.*"):
        if path.suffix != _RING:
            _unlink(path)


def tidy(folder: Path) -> None:
    """Take the files of dead workers away."""
    if not folder.is_dir():
        return
    with _alone(folder):
        living = {path.stem for path in _files(folder, f"*{_RING}") if _held(path)}
        for path in _files(folder, "*-*.*"):
            if path.name.partition(".")[0] not in living:
                _unlink(path)


def read_traffic(folder: Path, model: str) -> dict[str, NDArray[np.void]]:
    """Return the recent requests for a model by worker, each an array of RECORD, oldest first.

    A file that is damaged, or of another version of this program, is left out; one that is being
    written gives what is complete.
    """
    found: dict[str, NDArray[np.void]] = {}
    for path in _files(folder, f"{_digest(model)}-*{_RING}"):
        try:
            worker, records = _read_ring(path)
        except (OSError, ValueError, KeyError, struct.error) as error:
            _log.debug("%s is left out: %s", path, error)
            continue
        found[worker] = records
    return found


def read_inputs(folder: Path, model: str) -> list[dict[str, NDArray[np.generic]]]:
    """Return a few recent inputs of a model, of all its workers; damaged files are left out."""
    found: list[dict[str, NDArray[np.generic]]] = []
    for path in _files(folder, f"{_digest(model)}-*{_INPUT}"):
        try:
            found.append(_read_input(path))
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
            _log.debug("%s is left out: %s", path, error)
    return found


def _read_ring(path: Path) -> tuple[str, NDArray[np.void]]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        head = os.pread(descriptor, _HEAD_BYTES, 0)
        magic, slots, before, length = _HEAD.unpack_from(head)
        if magic != _MAGIC or not BUFFERED < slots <= _MOST_SLOTS:
            raise ValueError("it is no recording of this version")
        worker = str(json.loads(head[_HEAD.size : _HEAD.size + length])["worker"])
        data = os.pread(descriptor, slots * _RECORD.size, _HEAD_BYTES)
        _, _, after, _ = _HEAD.unpack_from(os.pread(descriptor, _HEAD.size, 0))
    finally:
        os.close(descriptor)
    if not 0 <= before <= after < _MOST_RECORDS:
        raise ValueError("its count makes no sense")
    records = np.zeros(slots, RECORD)
    whole = len(data) // _RECORD.size
    records[:whole] = np.frombuffer(data, RECORD, whole)
    # What was overwritten while it was read, or may have been, is left out.
    first = min(max(0, after + BUFFERED - slots), before)
    kept = records[np.arange(first, before) % slots]
    return worker, kept[_plausible(kept)]


def _plausible(records: NDArray[np.void]) -> NDArray[np.bool_]:
    at = records["at"]
    plausible: NDArray[np.bool_] = np.isfinite(at) & (at > 0.0) & (records["rows"] > 0)
    return plausible


def _read_input(path: Path) -> dict[str, NDArray[np.generic]]:
    if path.stat().st_size > _MOST_FILE_BYTES:
        raise ValueError("it is too large")
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as packed:
        names = json.loads(str(packed["names"]))
        arrays = [packed[str(place)] for place in range(len(names))]
    return {
        str(name): array.astype(object) if array.dtype.kind == "U" else array
        for name, array in zip(names, arrays, strict=True)
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only process that makes or tidies files: a new one has no lock for a moment."""
    with os.fdopen(_created(folder / "lock"), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _created(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _held(path: Path) -> bool:
    """Tell whether a living worker holds the lock on its file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _stem(model: str, worker: str) -> str:
    return f"{_digest(model)}-{_digest(worker)}"


def _digest(name: str) -> str:
    """A name for files: what the registry says never becomes part of a path."""
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
