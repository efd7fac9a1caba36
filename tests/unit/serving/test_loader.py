"""Loading models only where they fit, one at a time over all workers."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest

from config.errors import ModelRefused, UnavailableError
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile
from serving.knobs import SessionOptions
from serving.loaded import WarmModel
from serving.loader import Loader
from tests.services.predictor import write_heavy
from tests.unit.serving.serving_scene import Memory

OPTIONS = SessionOptions(1, spinning=False)


@pytest.fixture
def heavy(tmp_path: Path) -> ModelFile:
    path = write_heavy(tmp_path / "heavy.onnx", 1, megabytes=30)
    return ModelFile("heavy", 1, path, sha256(path), inspect(path))


def test_a_model_is_loaded_where_three_times_its_file_is_free(
    tmp_path: Path, heavy: ModelFile
) -> None:
    memory = Memory(tmp_path / "memory")
    loader = Loader(tmp_path / "lock", memory.files)
    memory.free(150)
    with pytest.raises(UnavailableError, match=r"heavy 1 needs 154 MB .* 150 MB are free"):
        loader.load(heavy, OPTIONS)
    memory.free(160)
    warm = loader.load(heavy, OPTIONS)
    assert warm.options == OPTIONS
    assert warm.file_bytes == heavy.path.stat().st_size


def test_what_it_took_last_time_is_what_it_needs(tmp_path: Path, heavy: ModelFile) -> None:
    memory = Memory(tmp_path / "memory")
    rollup = memory.files.proc / "self" / "smaps_rollup"
    rollup.write_text("Private_Dirty: 1000 kB\n")
    loader = Loader(tmp_path / "lock", memory.files)
    assert loader.load(heavy, OPTIONS)
    # It took nothing of its own, but its file has to be held twice for a moment.
    memory.free(130)
    assert loader.load(heavy, OPTIONS)
    memory.free(120)
    with pytest.raises(UnavailableError):
        loader.load(heavy, OPTIONS)


def test_only_one_worker_loads_at_a_time(tmp_path: Path, heavy: ModelFile) -> None:
    loader = Loader(tmp_path / "lock")
    began = time.monotonic()
    loader.load(heavy, OPTIONS)
    enough_s = 0.2 + 4 * (time.monotonic() - began)
    loaded: list[WarmModel] = []
    thread = threading.Thread(target=lambda: loaded.append(loader.load(heavy, OPTIONS)))
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        thread.join(enough_s)
        assert loaded == []
    thread.join(60)
    assert len(loaded) == 1


def test_a_worker_that_was_stopped_while_it_loads_is_not_waited_for_for_good(
    tmp_path: Path, heavy: ModelFile
) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Loader(tmp_path / "lock", patience_s=0.1).load(heavy, OPTIONS)


def test_a_lock_that_cannot_be_made_keeps_no_model_away(tmp_path: Path, heavy: ModelFile) -> None:
    assert Loader(tmp_path / "no" / "such" / "folder").load(heavy, OPTIONS)


def test_a_file_that_is_gone_is_refused(tmp_path: Path, heavy: ModelFile) -> None:
    heavy.path.unlink()
    with pytest.raises(ModelRefused):
        Loader(tmp_path / "lock").load(heavy, OPTIONS)
