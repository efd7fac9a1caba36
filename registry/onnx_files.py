"""Looking into model files before anything loads them, and opening those that are fit.

Only self-contained ONNX files of known operator domains pass. The look maps the file instead of
reading it, imports neither onnx nor onnxruntime, and unpickles nothing. It does not promise that
the graph makes sense: onnxruntime finds that out in `open_session`.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import ModelRefused
from registry.onnx_walk import Refusal, look
from registry.records import ModelSchema

if TYPE_CHECKING:
    import onnxruntime

MAX_MODEL_BYTES = 2**31 - 1  # protobuf's own limit for one message

_CHUNK = 2**20
_MAGIC = (
    (b"PK\x03\x04", "a zip archive, as torch.save and Keras write it"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)


def inspect(path: Path, *, limit: int = MAX_MODEL_BYTES) -> ModelSchema:
    """Check a model file and read its inputs and outputs.

    Raises:
        ModelRefused: it is not ONNX, is truncated, refers to other files, needs operators of an
            unknown domain, or is larger than `limit` bytes.
    """
    try:
        return _look(path, limit)
    except OSError as error:
        raise ModelRefused(
            f"{path.name} cannot be read ({error.strerror}); check the file"
        ) from error
    except Refusal as error:
        raise ModelRefused(
            f"{path.name} {error}; export the model as one self-contained ONNX file"
        ) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def open_session(
    path: Path, threads: int, *, spinning: bool = True
) -> onnxruntime.InferenceSession:
    """Load a model that `inspect` passed, for `threads` threads per call on the CPU.

    Spinning threads wait for work without sleeping: quicker to begin, but they keep a core busy.

    Raises:
        ModelRefused: onnxruntime does not take it.
    """
    import onnxruntime  # noqa: PLC0415 - most readers of the registry load no model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        cause = str(error).strip().split("\n")[0]
        raise ModelRefused(
            f"{path.name} is not a model that onnxruntime runs ({cause}); export it again"
        ) from error


def _look(path: Path, limit: int) -> ModelSchema:
    size = path.stat().st_size
    if size > limit:
        raise Refusal(f"has {size} bytes, more than the {limit} allowed")
    if size == 0:
        raise Refusal("is empty")
    with path.open("rb") as stream:
        # Not closed by hand: views of it live as long as a traceback does.
        mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
    head = mapped[:32]
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            raise Refusal(f"is {kind}, not ONNX")
    return look(memoryview(mapped))
