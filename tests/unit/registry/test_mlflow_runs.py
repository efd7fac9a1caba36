"""Runs are published once, whole, and without secrets."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from config.errors import InputError, RegistryUnavailable
from config.loader import load_settings
from flows.context import Context
from registry import mlflow_runs
from registry.mlflow_runs import Artefact, Metric, RunLog, RunRecord
from tests.services.onnx_models import linear_model, write_model
from tests.services.processes import free_port


@pytest.fixture
def log(mlflow_uri: str) -> RunLog:
    return RunLog(mlflow_uri)


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(mlflow_uri)


def _record(key: str | None = None) -> RunRecord:
    return RunRecord(
        key=key or f"ab_test/{uuid.uuid4().hex}/it's",
        name="ab_test digits v2 against v1",
        kind="ab_test",
        params={"weight": "0.1", "api_key": "geheim", "url": "postgresql://me:geheim@host/db"},
        metrics=(Metric("latency.p99", 12.5, "ms"), Metric("power", float("nan"), "W")),
        tags={"model": "digits", "flow_run_id": "flow-1", "ledger_subject": "t1"},
        artefacts=(
            Artefact("decision.json", b'{"verdict": "promote"}'),
            Artefact("plots/latency.png", b"\x89PNG"),
        ),
    )


def test_the_setting_names_the_experiment(
    client: MlflowClient, mlflow_uri: str, tmp_path: Path
) -> None:
    settings = load_settings(
        environ={
            "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri,
            "PRIME_SPARK_MLFLOW__EXPERIMENT": "team-a",
        }
    )
    context = Context(settings)
    run = client.get_run(context.runs.log(_record()).run_id)
    assert client.get_experiment(run.info.experiment_id).name == "team-a/ab_test"
    made = context.registry.register("named", write_model(tmp_path / "m.onnx", linear_model()))
    assert made.run_id is not None
    registered = client.get_run(made.run_id)
    assert client.get_experiment(registered.info.experiment_id).name == "team-a/models"


def test_a_run_carries_everything(log: RunLog, client: MlflowClient, mlflow_uri: str) -> None:
    record = _record()
    ref = log.log(record)
    run = client.get_run(ref.run_id)
    assert ref.url == f"{mlflow_uri}/#/experiments/{run.info.experiment_id}/runs/{ref.run_id}"
    assert (run.info.status, run.info.run_name) == ("FINISHED", record.name)
    assert client.get_experiment(run.info.experiment_id).name == "prime-spark/ab_test"
    assert run.data.metrics == {"latency.p99": 12.5}
    tags = run.data.tags
    assert tags["prime_spark.unit.latency.p99"] == "ms"
    assert tags["prime_spark.missing.power"] == "nan"
    assert tags["prime_spark.key"] == record.key
    assert {name: tags[name] for name in record.tags} == record.tags
    names = {item.path for item in client.list_artifacts(ref.run_id)}
    assert names == {"decision.json", "plots"}
    path = client.download_artifacts(ref.run_id, "plots/latency.png")
    assert Path(path).read_bytes() == b"\x89PNG"


def test_no_secret_is_published(log: RunLog, client: MlflowClient) -> None:
    run = client.get_run(log.log(_record()).run_id)
    assert run.data.params["weight"] == "0.1"
    assert "geheim" not in str(run.to_dictionary())


def test_the_same_key_is_the_same_run(log: RunLog, client: MlflowClient) -> None:
    record = _record()
    first = log.log(record)
    assert log.log(record) == first
    assert log.log(_record()) != first
    history = client.get_metric_history(first.run_id, "latency.p99")
    assert len(history) == 1


def test_a_run_that_was_cut_off_is_completed(log: RunLog, client: MlflowClient) -> None:
    record = _record()
    ref = log.log(record)
    # As a process leaves it that is killed before the end: running, with half of its content.
    client.update_run(ref.run_id, status="RUNNING")
    assert log.log(record) == ref
    run = client.get_run(ref.run_id)
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(ref.run_id, "latency.p99")) == 1


@pytest.mark.parametrize("attempt", range(5))
def test_two_that_publish_at_once_make_one_run(
    log: RunLog, client: MlflowClient, attempt: int
) -> None:
    record = _record()
    with ThreadPoolExecutor(4) as pool:
        refs = set(pool.map(lambda _: log.log(record), range(4)))
    assert len(refs) == 1
    (ref,) = refs
    assert [run.info.run_id for run in _runs(client, ref.run_id, record)] == [ref.run_id]


def test_who_fills_a_run_that_another_takes_away_publishes_under_the_one_that_stands(
    log: RunLog, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _record()
    older: list[str] = []
    fill = mlflow_runs._fill

    def overtaken(mlflow: MlflowClient, run: Run, content: RunRecord) -> None:
        if not older:
            tags = {name: run.data.tags[name] for name in run.data.tags if "prime_spark" in name}
            earlier = run.info.start_time - 1
            made = mlflow.create_run(run.info.experiment_id, start_time=earlier, tags=tags)
            older.append(made.info.run_id)
            mlflow.delete_run(run.info.run_id)
        fill(mlflow, run, content)

    monkeypatch.setattr(mlflow_runs, "_fill", overtaken)
    ref = log.log(record)
    assert [ref.run_id] == older
    assert client.get_run(ref.run_id).data.metrics == {"latency.p99": 12.5}


def test_an_older_run_that_appears_late_is_the_one(
    log: RunLog, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _record()
    fill = mlflow_runs._fill
    older: list[str] = []

    def overtaken(mlflow: MlflowClient, run: Run, content: RunRecord) -> None:
        fill(mlflow, run, content)
        if not older:
            tags = {name: run.data.tags[name] for name in run.data.tags if "prime_spark" in name}
            earlier = run.info.start_time - 1
            made = mlflow.create_run(run.info.experiment_id, start_time=earlier, tags=tags)
            older.append(made.info.run_id)

    monkeypatch.setattr(mlflow_runs, "_fill", overtaken)
    ref = log.log(record)
    assert [ref.run_id] == older
    assert [run.info.run_id for run in _runs(client, ref.run_id, record)] == older


def _runs(client: MlflowClient, run_id: str, record: RunRecord) -> list[Run]:
    """Those that can be seen of the record's key."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment])
    return [run for run in found if run.data.tags.get("prime_spark.key") == record.key]


def test_long_values_and_many_of_them_fit(log: RunLog, client: MlflowClient) -> None:
    record = RunRecord(
        key=f"many/{uuid.uuid4().hex}",
        name="many",
        kind="benchmark",
        params={f"p{n}": "x" * (9000 if n == 0 else 3) for n in range(120)},
        tags={f"t{n}": "x" * (9000 if n == 0 else 3) for n in range(105)},
        metrics=tuple(Metric(f"m{n}", n, "") for n in range(110)),
    )
    run = client.get_run(log.log(record).run_id)
    assert len(run.data.params) == 120
    assert len(run.data.metrics) == 110
    assert run.data.params["p0"].endswith("x…")


@pytest.mark.parametrize("name", ["../up.json", "/etc/passwd", "", "a/../../b"])
def test_file_names_stay_inside_the_run(log: RunLog, name: str) -> None:
    record = RunRecord(key="k", name="n", kind="benchmark", artefacts=(Artefact(name, b""),))
    with pytest.raises(InputError, match="no name"):
        log.log(record)


def test_a_server_that_is_down_is_told_quickly() -> None:
    with pytest.raises(RegistryUnavailable):
        RunLog(f"http://127.0.0.1:{free_port()}").log(_record())
