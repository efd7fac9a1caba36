"""Who pays for the API: its own process only."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"mlflow", "scipy", "onnxruntime", "onnx", "prefect", "bentoml", "pandas", "numpy"}
WEB = {"fastapi", "starlette", "uvicorn"}


def _imported(*modules: str) -> set[str]:
    lines = [f"import {name}" for name in modules]
    code = "\n".join([*lines, "import json, sys", "print(json.dumps(sorted(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_predictor_does_not_load_the_api() -> None:
    loaded = _imported("serving.service", "serving.runtime")
    assert not [name for name in loaded if name.startswith("serving.api")]
    assert "fastapi" not in loaded


def test_the_views_need_no_web_framework() -> None:
    loaded = _imported("serving.api.views", "serving.api.world_views", "serving.api.controls")
    assert loaded & (WEB | HEAVY) == set()


def test_the_api_loads_nothing_heavy() -> None:
    loaded = _imported("serving.api.server")
    assert loaded & HEAVY == set()
    assert "fastapi" in loaded
