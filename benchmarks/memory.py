"""Memory of one model, in MB of unique set, measured in a fresh process that loads nothing else.

Unique set (USS) is what the system would get back if the process ended, so libraries shared with
others do not count; see the psutil documentation of ``memory_full_info``. What the process held
before the model was loaded is subtracted. Running it apart also keeps a model that crashes or
hangs away from whoever measures it.

``python -m benchmarks.memory MODEL.onnx < one-request.npy`` is that process.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

MEGABYTE = 1024 * 1024
TIMEOUT_S = 60.0
RUNS = 3
# The ONNX file of y = Identity(x) for one float, opset 13.
SMALLEST_MODEL = bytes.fromhex(
    "08073a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f"
    "0a0179120a0a08080112040a02080142040a00100d"
)


class MemoryFault(StrEnum):
    """Why there is no memory figure."""

    CRASHED = "crashed"
    HUNG = "hung"
    REFUSED = "refused"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """MB of unique set that a model adds: after loading, and after its first requests."""

    loaded_mb: float
    serving_mb: float


@dataclass(frozen=True, slots=True)
class NoMemoryUse:
    """No figure: what kind of trouble, and a sentence about it."""

    fault: MemoryFault
    reason: str


class MemoryProbe:
    """A measuring process under way; start several, then ask each for its result."""

    def __init__(self, model: Path, request: dict[str, NDArray[Any]]) -> None:
        self._request = _pack(request)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.memory", str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process if it still runs, and free its pipes."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    @property
    def pid(self) -> int:
        """Process id of the measuring process."""
        return self._process.pid

    def result(self, timeout_s: float = TIMEOUT_S) -> MemoryUse | NoMemoryUse:
        """Wait for the process and read its figures; it is ended if it takes too long."""
        try:
            output, errors = self._process.communicate(self._request, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return NoMemoryUse(
                MemoryFault.HUNG, f"loading it and answering took longer than {timeout_s:g} s"
            )
        if self._process.returncode < 0:
            return NoMemoryUse(
                MemoryFault.CRASHED, f"its process died with signal {-self._process.returncode}"
            )
        if self._process.returncode > 0:
            lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
            return NoMemoryUse(MemoryFault.CRASHED, f"its process failed: {lines[-1][:200]}")
        return _read(output)


def _read(output: bytes) -> MemoryUse | NoMemoryUse:
    figures = json.loads(output.splitlines()[-1])
    if "fault" in figures:
        return NoMemoryUse(MemoryFault(figures["fault"]), figures["reason"])
    return MemoryUse(figures["loaded_mb"], figures["serving_mb"])


def _pack(request: dict[str, NDArray[Any]]) -> bytes:
    """The request as .npz bytes; text as unicode, so that nothing has to be pickled."""
    buffer = io.BytesIO()
    plain = {k: v.astype(str) if v.dtype.kind == "O" else v for k, v in request.items()}
    np.savez(buffer, allow_pickle=False, **plain)
    return buffer.getvalue()


def measure_here(model: Path, request: dict[str, NDArray[Any]]) -> dict[str, float | str]:
    """Load a model into this process and report what that added to its unique set."""
    # Before the baseline is taken: the libraries, and what the runtime sets up for the first
    # session of a process (8 MB), are not the model's memory.
    import onnxruntime  # noqa: PLC0415
    import psutil  # noqa: PLC0415

    from config.errors import ModelRefused  # noqa: PLC0415
    from registry.onnx_files import open_session  # noqa: PLC0415

    first = onnxruntime.InferenceSession(SMALLEST_MODEL, providers=["CPUExecutionProvider"])
    first.run(None, {"x": np.zeros(1, dtype=np.float32)})
    process = psutil.Process()
    before = process.memory_full_info().uss
    try:
        session = open_session(model, 1)
    except ModelRefused as error:
        return {"fault": MemoryFault.REFUSED.value, "reason": str(error)}
    loaded = process.memory_full_info().uss
    try:
        for _ in range(RUNS):
            session.run(None, request)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        return {
            "fault": MemoryFault.UNMEASURED.value,
            "reason": f"its first request failed: {str(error).splitlines()[0][:200]}",
        }
    serving = process.memory_full_info().uss
    return {
        "loaded_mb": max(loaded - before, 0) / MEGABYTE,
        "serving_mb": max(serving - before, 0) / MEGABYTE,
    }


def main() -> int:
    """Measure the model named on the command line with the request on standard input."""
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as packed:
        request = {name: packed[name] for name in packed.files}
    print(json.dumps(measure_here(Path(sys.argv[1]), request)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
