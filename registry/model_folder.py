"""Model files that somebody puts into a folder: ``<folder>/<model>/<name>.onnx``.

A file of the same name with the ending ``.npz`` is its evaluation data. Files are looked into,
never loaded; what is not a safe ONNX file is refused with the reason. Whoever takes a file copies
it first and checks the copy, so that a file changed meanwhile is not taken for the one seen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.clock import Clock, epoch
from config.errors import InputError, ModelRefused
from registry.evaluation import EvaluationData, evaluation_from_bytes
from registry.onnx_files import MAX_MODEL_BYTES, inspect, sha256

MODEL_SUFFIX, EVALUATION_SUFFIX = ".onnx", ".npz"
# Younger files may still be written to.
SETTLED_S = 2.0
_MAX_EVALUATION_FILE_BYTES = 256 * 2**20
_MAX_FILES = 1000


@dataclass(frozen=True, slots=True)
class FolderModel:
    """A file in the folder.

    Attributes:
        name: its path below the folder, `<model>/<file>`.
        digest: SHA-256; empty for what is refused before it is read.
        refused: why it is not taken; empty when it may be.
    """

    model: str
    name: str
    digest: str
    refused: str = ""


class ModelFolder:
    """One watched folder; what was looked into before is not read again until it changes."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._known: dict[Path, tuple[tuple[int, int], FolderModel]] = {}

    def scan(self) -> list[FolderModel]:
        """Every settled file, by name; none when the folder is not there.

        Raises:
            InputError: it holds more files than anybody would put there by hand.
        """
        found: dict[Path, tuple[tuple[int, int], FolderModel]] = {}
        for path in self._files():
            if len(found) >= _MAX_FILES:
                raise InputError(
                    f"{self._root} holds more than {_MAX_FILES} files; take the old ones away"
                )
            seen = self._seen(path)
            if seen is not None:
                found[path] = seen
        self._known = found
        return [model for _, model in found.values()]

    def take(self, name: str, digest: str, to: Path) -> tuple[Path, EvaluationData | None]:
        """Copy a file that was seen with this digest, and read the evaluation data beside it.

        Raises:
            InputError: no such file in the folder, another content, or unusable evaluation data.
        """
        path = self._inside(name)
        copy = to / path.name
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise InputError(
                f"{name} cannot be read ({error.strerror}); put it there again"
            ) from error
        inspect(copy)
        if sha256(copy) != digest:
            raise InputError(f"{name} has changed since it was found; it is looked at again soon")
        return copy, self._evaluation(path)

    def _files(self) -> Iterator[Path]:
        if not self._root.is_dir():
            return
        for folder in sorted(self._root.iterdir()):
            if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith("."):
                yield from sorted(folder.iterdir())

    def _seen(self, path: Path) -> tuple[tuple[int, int], FolderModel] | None:
        if path.name.startswith(".") or path.suffix == EVALUATION_SUFFIX:
            return None
        name, model = f"{path.parent.name}/{path.name}", path.parent.name
        if path.is_symlink() or not path.is_file():
            return (0, 0), FolderModel(model, name, "", "it is no plain file")
        state = path.stat()
        if 0 <= epoch(self._clock.now()) - state.st_mtime < SETTLED_S:
            return None
        stamp = (state.st_size, state.st_mtime_ns)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known
        return stamp, _looked_into(path, model, name)

    def _inside(self, name: str) -> Path:
        parts = Path(name).parts
        path = self._root / name
        if len(parts) != 2 or any(part in {"..", "/", ""} for part in parts) or path.is_symlink():
            raise InputError(
                f"{name!r} is no file of the watched folder; write <model>/<file>.onnx"
            )
        return path

    def _evaluation(self, path: Path) -> EvaluationData | None:
        beside = path.with_suffix(EVALUATION_SUFFIX)
        if not beside.is_file() or beside.is_symlink():
            return None
        if beside.stat().st_size > _MAX_EVALUATION_FILE_BYTES:
            raise InputError(f"{beside.name} is larger than {_MAX_EVALUATION_FILE_BYTES} bytes")
        return evaluation_from_bytes(beside.read_bytes())


def _looked_into(path: Path, model: str, name: str) -> FolderModel:
    if path.suffix != MODEL_SUFFIX:
        refused = f"{path.name} is no .onnx file; export the model to ONNX"
        return FolderModel(model, name, "", refused)
    try:
        inspect(path, limit=MAX_MODEL_BYTES)
        return FolderModel(model, name, sha256(path))
    except (ModelRefused, OSError) as error:
        return FolderModel(model, name, "", str(error))
