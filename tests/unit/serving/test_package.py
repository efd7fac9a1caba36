"""What the predictor brings along: no training or tracking libraries, and only its own packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("mlflow", "scipy", "sklearn", "pandas", "prefect", "matplotlib", "onnx")


def test_a_worker_imports_no_heavy_library() -> None:
    code = (
        "import sys, serving.service, serving.runtime, registry.onnx_files, registry.reader;"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_the_supervising_process_loads_no_model_runtime() -> None:
    code = "import sys, serving.service; print('onnxruntime' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_bento_holds_config_registry_and_serving_only(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "-f", "serving/bentofile.yaml", "."],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
    bentos = list((tmp_path / "bentoml" / "bentos" / "prime-spark-predictor").glob("*/src"))
    assert len(bentos) == 1
    held = {path.relative_to(bentos[0]) for path in bentos[0].rglob("*") if path.is_file()}
    # BentoML adds its build file.
    folders = {path.parts[0] for path in held} - {"bentofile.yaml"}
    assert folders == {"config", "registry", "serving"}
    assert {Path("config/agent.yaml"), Path("serving/service.py")} <= held
    assert not [path for path in held if path.suffix in (".pyc", ".db", ".log")]
    code = "import serving.service; print(serving.service.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=bentos[0], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().startswith(str(bentos[0]))
