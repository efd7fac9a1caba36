"""A bento for a device: built by BentoML itself, and what it serves."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.quantization import quantize
from config.settings import DeploymentTargetSettings
from optimizers.deployment.edge import build_edge
from optimizers.deployment.places import Places
from optimizers.models.facts import PlaceState
from tests.services.processes import LOOPBACK, free_port, started
from tests.services.small_registry import SmallRegistry
from tests.services.toy_models import model_file, network


@pytest.mark.timeout(180)
def test_a_quantised_model_is_built_and_served_from_its_bento_alone(tmp_path: Path) -> None:
    path, rows = network(tmp_path / "net.onnx")
    file = model_file(path, "net", 3)
    shipped = quantize(file, rows, tmp_path / "small.onnx", margin=0.05)
    folder, work = tmp_path / "device", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    built = build_edge(file, shipped, folder, work)
    manifest = json.loads(built.manifest.read_text())
    assert (manifest["version"], manifest["quantized"]) == (3, True)
    assert manifest["small"]["bytes"] < manifest["original"]["bytes"]

    target = DeploymentTargetSettings(name="pi", kind="edge", folder=folder)
    places = Places([target], SmallRegistry)  # type: ignore[arg-type]
    placed = places.look(target, "net", 3, file.digest)
    assert placed.state is PlaceState.CURRENT
    assert places.look(target, "net", 4, "0" * 64).state is PlaceState.BEHIND

    unpacked = tmp_path / "unpacked"
    with tarfile.open(built.bento) as archive:
        archive.extractall(unpacked)
    answers = served_from(unpacked, tmp_path, rows.inputs[:5].tolist())
    assert answers["version"] == 3
    assert answers["outputs"]["label"] == rows.labels[:5].tolist()


def served_from(bento: Path, folder: Path, inputs: object) -> dict[str, Any]:
    """Serve an unpacked bento and ask it once."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = [sys.executable, "-m", "bentoml", "serve", str(bento)]
    command += ["--host", LOOPBACK, "--port", str(port)]
    environment = {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bentoml"),
        "PRIME_SPARK_HOME": str(folder / "home"),
    }

    def ready() -> bool:
        return httpx.get(f"{url}/v2/models/net", timeout=2.0).status_code == httpx.codes.OK

    with started(command, ready=ready, log=folder / "edge.out", env=environment):
        told = httpx.get(f"{url}/v2/models/net", timeout=5.0).json()
        assert told["versions"] == ["3"]
        assert httpx.get(f"{url}/nothing", timeout=5.0).status_code == httpx.codes.NOT_FOUND
        refused = httpx.post(f"{url}/predict/net", json={"inputs": [[1]]}, timeout=5.0)
        assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        answer = httpx.post(f"{url}/predict/net", json={"inputs": inputs}, timeout=5.0)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found
