"""Every built-in target keeps what the seam promises."""

from __future__ import annotations

import json

from config.clock import SystemClock
from optimizers.targets.host import HostTarget
from optimizers.targets.mlflow import MlflowTarget
from optimizers.targets.prefect import PrefectTarget
from optimizers.targets.prometheus import PrometheusTarget
from optimizers.targets.registry import RegistryTarget
from optimizers.targets.serving import ServingTarget
from optimizers.testing import check_target
from tests.services.paged_server import paged_server

CLOCK = SystemClock()
AT = 1_700_000_000.0
ANSWER = {"status": "success", "data": {"resultType": "scalar", "result": [AT, "4"]}}
SERVING = {"ready": True, "models": {}, "problems": {"m": "no file"}, "stale": {}}
PAGES = {
    "/metrics": b'prime_spark_queue_length{worker="w",model="m",version="1"} 2\n',
    "/models": json.dumps(SERVING).encode(),
    "/health": b"OK",
    "/version": b"3.17.2",
    "/api/health": b"true",
    "/api/flow_runs/count": b"3",
    "/api/work_pools/pool/workers/filter": b'[{"status": "ONLINE"}]',
    "/api/v1/query": json.dumps(ANSWER).encode(),
    "/api/2.0/mlflow/registered-models/search": b'{"registered_models": [{"name": "m"}]}',
}


def test_every_built_in_target_keeps_its_promises() -> None:
    check_target(HostTarget(CLOCK))
    with paged_server(PAGES) as server:
        for target in (
            ServingTarget(server.url, CLOCK),
            RegistryTarget(server.url, CLOCK),
            MlflowTarget(server.url, CLOCK),
            PrefectTarget(f"{server.url}/api", CLOCK, "pool"),
            PrometheusTarget("shop", server.url, {"rps": "sum(rps)"}, CLOCK),
        ):
            check_target(target, at=AT)
            assert len(target.observe(AT, 5.0).observations) > 0
