"""Model files on this machine's disk, named by their digest only, shared by all its processes.

A name from the registry never becomes part of a path. A file appears under its digest complete and
checked, or not at all; whoever fetches it holds a lock meanwhile, so workers that start together
fetch it once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config.errors import ConfigError, ModelRefused
from registry.onnx_files import sha256


class ModelCache:
    """Files by SHA-256 in one directory, which only their owner can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str, suffix: str) -> Path:
        """Where the file of that digest stands or would stand."""
        return self._folder / f"{digest}{suffix}"

    def find(self, digest: str, suffix: str) -> Path | None:
        """The file of that digest; one that was damaged on disk is dropped."""
        path = self.path(digest, suffix)
        try:
            if sha256(path) == digest:
                return path
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return None

    @contextmanager
    def fetching(self, digest: str) -> Iterator[None]:
        """Be the only process that fetches this digest."""
        self._create()
        descriptor = os.open(
            self._folder / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def store(self, digest: str, suffix: str, pieces: Iterator[bytes], what: str) -> Path:
        """Write pieces to the file of that digest, if that is what they are.

        Raises:
            ModelRefused: their digest is another one; nothing is kept.
        """
        descriptor, draft = tempfile.mkstemp(dir=self._folder, prefix=".draft-")
        found = hashlib.sha256()
        try:
            with os.fdopen(descriptor, "wb") as stream:
                for piece in pieces:
                    found.update(piece)
                    stream.write(piece)
            if found.hexdigest() != digest:
                raise ModelRefused(
                    f"{what} has the digest {found.hexdigest()[:12]}…, but {digest[:12]}… was "
                    "pinned when it was registered; the stored file was changed, register it anew"
                )
            path = self.path(digest, suffix)
            Path(draft).replace(path)
        finally:
            with suppress(FileNotFoundError):
                Path(draft).unlink()
        return path

    def _create(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the model cache {self._folder} ({error.strerror}); set home to a "
                "directory that may be written"
            ) from error
