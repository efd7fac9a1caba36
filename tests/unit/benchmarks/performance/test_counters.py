"""A predictor's page is added up over its workers, and over nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.performance.counters import counters_of
from serving.metrics import page, sample
from tests.unit.serving.test_metrics import served_state


async def test_a_model_is_added_up_over_its_workers(tmp_path: Path) -> None:
    state = await served_state(tmp_path)
    found = counters_of(page([sample(state, "w1"), sample(state, "w2")]).decode())
    assert found.total("prime_spark_requests_total", model='di"gi\nts') == 6.0
    assert found.total("prime_spark_requests_total", model='di"gi\nts', worker="w2") == 3.0
    assert found.total("prime_spark_requests_total", model="digits") == 0.0
    assert found.total("prime_spark_requests") == 0.0
