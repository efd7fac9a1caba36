"""The deployments: one list, agreed with `prefect.yaml`, and accepted by a real server."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from config.settings import PrefectSettings, Settings
from flows.deployments import DEPLOYMENTS, deploy, interval_of
from flows.names import DEPLOYMENT, FLOWS
from tests.services.prefect_server import PrefectServer
from tests.services.processes import wait_until

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = Settings()


def in_file() -> dict[str, dict[str, Any]]:
    """The deployments of `prefect.yaml` by flow."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return {one["entrypoint"].rsplit(".")[-1]: one for one in content["deployments"]}


def test_every_flow_is_deployed_once() -> None:
    assert sorted(one.flow for one in DEPLOYMENTS) == sorted(FLOWS)


@pytest.mark.parametrize("deployed", DEPLOYMENTS, ids=lambda one: one.flow)
def test_the_file_says_what_the_list_says(deployed: Any) -> None:  # noqa: ANN401
    told = in_file()[deployed.flow]
    interval = interval_of(deployed, SETTINGS)
    assert told["name"] == DEPLOYMENT
    assert told["entrypoint"] == deployed.entrypoint
    assert told["work_pool"]["name"] == SETTINGS.prefect.work_pool
    assert told["work_pool"]["job_variables"] == {"command": "python -m prefect.engine"}
    assert told.get("concurrency_limit", {}).get("limit") == deployed.concurrency
    schedules = [one["interval"] for one in told.get("schedules", [])]
    assert schedules == ([interval.total_seconds()] if interval else [])


def test_the_file_names_no_flow_besides() -> None:
    assert set(in_file()) == set(FLOWS)


@pytest.mark.parametrize("deployed", DEPLOYMENTS, ids=lambda one: one.flow)
def test_an_entry_point_is_a_module_and_its_flow(deployed: Any) -> None:  # noqa: ANN401
    flow = deployed.load()
    assert flow.name == deployed.flow
    assert flow.description
    assert importlib.util.find_spec(deployed.flow) is None, "a file's name hides another module"


def test_importing_the_flows_is_light() -> None:
    heavy = ("mlflow", "scipy", "matplotlib", "onnxruntime")
    modules = ", ".join(f"flows.{flow}" for flow in FLOWS)
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_importing_the_waker_is_lighter_still() -> None:
    heavy = ("prefect", "mlflow", "scipy", "matplotlib", "onnxruntime")
    code = (
        "import sys, flows.wake, optimizers.models.observing; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


_SEEN = (
    "entrypoint",
    "pull_steps",
    "job_variables",
    "tags",
    "description",
    "parameter_openapi_schema",
    "work_pool_name",
    "enforce_parameter_schema",
)


@pytest.mark.e2e
def test_both_ways_of_deploying_give_the_same_deployments(
    prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(prefect=PrefectSettings(api_url=prefect_api.api_url))
    names = deploy(settings, python="python")
    assert names == tuple(f"{one.flow}/{DEPLOYMENT}" for one in DEPLOYMENTS)
    ours = seen(prefect_api)
    for name in names:
        url = f"{prefect_api.api_url}/deployments/name/{name}"
        identity = httpx.get(url, timeout=20).json()["id"]
        httpx.delete(f"{prefect_api.api_url}/deployments/{identity}", timeout=20)
    for name, value in prefect_api.environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen(prefect_api) == ours


@pytest.mark.e2e
def test_deploying_again_changes_nothing(prefect_api: PrefectServer) -> None:
    settings = Settings(prefect=PrefectSettings(api_url=prefect_api.api_url))
    deploy(settings, python="python")
    before = seen(prefect_api)
    deploy(settings, python="python")
    assert seen(prefect_api) == before


@pytest.mark.e2e
def test_prefect_makes_the_runs_of_the_schedules(prefect_api: PrefectServer) -> None:
    pool = "scheduled"
    deploy(Settings(prefect=PrefectSettings(api_url=prefect_api.api_url, work_pool=pool)))
    body = {"work_pools": {"name": {"any_": [pool]}}}

    def planned() -> set[str]:
        url = f"{prefect_api.api_url}/flow_runs/filter"
        runs = httpx.post(url, json=body, timeout=20).raise_for_status().json()
        flows = {one["flow_id"] for one in runs if one["auto_scheduled"]}
        url = f"{prefect_api.api_url}/flows/filter"
        asked = {"flows": {"id": {"any_": sorted(flows)}}}
        found = httpx.post(url, json=asked, timeout=20).raise_for_status().json()
        return {one["name"] for one in found}

    due = {one.flow for one in DEPLOYMENTS if interval_of(one, SETTINGS)}
    assert due
    wait_until(lambda: planned() == due, 90.0, "Prefect has planned the runs of every schedule")


def seen(server: PrefectServer) -> dict[str, dict[str, Any]]:
    """What the server holds of our deployments, as far as it matters."""
    found = {}
    for deployed in DEPLOYMENTS:
        url = f"{server.api_url}/deployments/name/{deployed.flow}/{DEPLOYMENT}"
        raw = httpx.get(url, timeout=20).raise_for_status().json()
        limit = raw["global_concurrency_limit"]
        found[deployed.flow] = {name: raw[name] for name in _SEEN} | {
            "limit": limit["limit"] if limit else None,
            "intervals": [one["schedule"]["interval"] for one in raw["schedules"]],
        }
    return found
