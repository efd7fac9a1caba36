from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from benchmarks.memory import MemoryFault, MemoryProbe, MemoryUse, NoMemoryUse
from tests.unit.benchmarks.onnx_models import WIDTH, classifier, evaluation, failing

REQUEST = {"X": evaluation(1).inputs}


def measure(path: Path, **changes: float) -> MemoryUse | NoMemoryUse:
    with MemoryProbe(path, REQUEST) as probe:
        return probe.result(**changes)


def test_a_large_model_takes_what_its_weights_take_and_a_small_one_little(tmp_path: Path) -> None:
    small = measure(classifier(tmp_path / "small.onnx").path)
    large = measure(classifier(tmp_path / "large.onnx", layers=1).path)
    assert isinstance(small, MemoryUse)
    assert isinstance(large, MemoryUse)
    weights_mb = WIDTH * WIDTH * 4 / 2**20
    # The libraries and the runtime's own state (tens of MB) are not counted.
    assert small.serving_mb < 4.0
    assert large.loaded_mb > 0.8 * weights_mb
    assert large.serving_mb < 6 * weights_mb


def test_a_file_that_is_no_model_is_refused_and_not_zero(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    found = measure(tmp_path / "m.onnx")
    assert isinstance(found, NoMemoryUse)
    assert found.fault is MemoryFault.REFUSED


def test_a_first_request_that_fails_is_told_apart(tmp_path: Path) -> None:
    file = failing(tmp_path / "m.onnx")
    with MemoryProbe(file.path, {"X": np.full((1, 4), 0.99, dtype=np.float32)}) as probe:
        found = probe.result()
    assert isinstance(found, NoMemoryUse)
    assert found.fault is MemoryFault.UNMEASURED


def test_a_model_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with MemoryProbe(classifier(tmp_path / "m.onnx").path, REQUEST) as probe:
        found = probe.result(timeout_s=0.01)
        pid = probe.pid
    assert isinstance(found, NoMemoryUse)
    assert found.fault is MemoryFault.HUNG
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_dies_is_a_crash_of_the_model(tmp_path: Path) -> None:
    with MemoryProbe(classifier(tmp_path / "m.onnx").path, REQUEST) as probe:
        os.kill(probe.pid, signal.SIGSEGV)
        found = probe.result()
    assert found == NoMemoryUse(MemoryFault.CRASHED, "its process died with signal 11")
