"""Processes that only read the registry stay small: no heavy library comes along."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"mlflow", "pandas", "scipy", "onnx", "onnxruntime", "sklearn", "matplotlib", "prefect"}
LIGHT = [
    "records",
    "routing",
    "exposures",
    "feedback",
    "knobs",
    "reader",
    "catalog",
    "aliases",
    "alias_client",
    "experiments",
    "lifecycle",
    "onnx_files",
    "ledger.events",
    "agent_actions",
    "agent_approvals",
    "agent_control",
    "agent_findings",
    "agent_leases",
    "agent_learning",
    "audit",
]


def _imported(modules: list[str]) -> set[str]:
    lines = [f"import {name}" for name in modules]
    code = "\n".join([*lines, "import json, sys", "print(json.dumps(sorted(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_reading_the_registry_imports_nothing_heavy() -> None:
    assert _imported([f"registry.{name}" for name in LIGHT]) & HEAVY == set()


def test_the_test_above_would_notice() -> None:
    assert "onnx" in _imported(["registry.records", "onnx"]) & HEAVY
