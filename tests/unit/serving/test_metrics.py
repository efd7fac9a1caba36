from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from config.settings import ServingSettings
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile
from serving.keeping import Keeping
from serving.knobs import SessionOptions
from serving.loader import Loader
from serving.metrics import MetricsBoard, page, sample
from serving.plans import Wanted
from serving.recording import Recordings
from serving.state import ServingState, Update
from tests.services.predictor import write_classifier


async def served_state(folder: Path) -> ServingState:
    path = write_classifier(folder / "model.onnx", 1)
    file = ModelFile('di"gi\nts', 1, path, sha256(path), inspect(path))
    pool = ThreadPoolExecutor(1)
    loader = Loader(folder / "lock")
    recordings = Recordings(folder / "traffic", "worker-1", 0, pool)
    state = ServingState(ServingSettings(), pool, Keeping(loader, pool), recordings)
    warm = {(file.model, 1): loader.load(file, SessionOptions())}
    state.publish(Update({file.model: Wanted(1)}, warm, {}, {}, {}))
    for latency_ms in (0.4, 5.0, 40_000.0):
        state.tallies[0].add(latency_ms, failed=latency_ms > 1000)
    return state


async def test_the_page_is_what_prometheus_reads(tmp_path: Path) -> None:
    state = await served_state(tmp_path)
    text = page([sample(state, "w1"), sample(state, "w2")]).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    requests = families["prime_spark_requests"].samples
    assert [(one.labels["worker"], one.value) for one in requests] == [("w1", 3.0), ("w2", 3.0)]
    assert requests[0].labels["model"] == 'di"gi\nts'
    latency = [
        one
        for one in families["prime_spark_request_latency_seconds"].samples
        if one.labels["worker"] == "w1" and one.name.endswith("_bucket")
    ]
    counts = [one.value for one in latency]
    assert counts == sorted(counts)
    assert (counts[0], counts[-2], counts[-1]) == (1.0, 2.0, 3.0)
    assert latency[-1].labels["le"] == "+Inf"


async def test_the_samples_of_a_dead_worker_are_cleared_away(tmp_path: Path) -> None:
    state = await served_state(tmp_path)
    board = MetricsBoard(tmp_path / "board", state, "mine")
    board.post()
    dead = tmp_path / "board" / "999999999.prom"
    dead.write_text(sample(state, "dead"))
    text = board.read().decode()
    assert 'worker="mine"' in text
    assert 'worker="dead"' not in text
    assert not dead.exists()
    board.withdraw()
    assert list((tmp_path / "board").iterdir()) == []
