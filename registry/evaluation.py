"""Evaluation data of a version: inputs and true labels, as an .npz file without any pickle."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import InputError

MAX_EVALUATION_BYTES = 512 * 2**20

_NAMES = ("inputs", "labels")


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationData:
    """`inputs` are rows in the form of the model's first input; `labels` are one per row."""

    inputs: NDArray[np.generic]
    labels: NDArray[np.generic]

    def __post_init__(self) -> None:
        """Check that the two belong together.

        Raises:
            InputError: there is not one label per row, or an array holds Python objects.
        """
        if self.inputs.dtype.hasobject or self.labels.dtype.hasobject:
            raise InputError("evaluation data has to be numbers or texts, not Python objects")
        if self.inputs.ndim < 1 or self.labels.shape[:1] != self.inputs.shape[:1]:
            raise InputError(
                f"evaluation data has inputs of shape {self.inputs.shape} and labels of shape "
                f"{self.labels.shape}; there has to be one label per row"
            )

    def to_bytes(self) -> bytes:
        """The content of the .npz file; the same data always gives the same bytes."""
        stream = io.BytesIO()
        np.savez_compressed(stream, inputs=self.inputs, labels=self.labels)
        return stream.getvalue()


def evaluation_from_bytes(content: bytes, *, limit: int = MAX_EVALUATION_BYTES) -> EvaluationData:
    """Read an .npz file with the arrays `inputs` and `labels`.

    Raises:
        InputError: it is none, needs pickle, or unpacks to more than `limit` bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
        if unpacked > limit:
            raise InputError(f"evaluation data unpacks to {unpacked} bytes; {limit} are allowed")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return EvaluationData(*(arrays[name] for name in _NAMES))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"evaluation data cannot be read ({error}); it has to be an .npz file with the arrays "
            "inputs and labels"
        ) from error
