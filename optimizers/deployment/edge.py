"""Builds a bento for an edge device, with a manifest that says what was built and measured.

It holds the small predictor and the model, quantised where that is shown to be harmless. The bento
is built in a folder of its own and moved into place whole, the manifest last: a device that copies
the folder never meets half of one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.quantization import Quantization
from config.errors import UnavailableError
from optimizers.deployment.places import MANIFEST, place_of
from registry.records import ModelFile

BuildBento = Callable[[Path, Path], None]
"""Builds the folder it is given into the bento file it is given."""

_BUILD_S = 600.0
_PACKAGES = ("config", "registry", "serving")
_BENTOFILE = """\
service: "serving.edge.service:Edge"
name: prime-spark-edge
description: "One model for an edge device."
include:
  - "config/**/*.py"
  - "config/*.yaml"
  - "registry/**/*.py"
  - "serving/**/*.py"
  - "edge/*"
exclude:
  - "**/__pycache__/"
python:
  lock_packages: false
  packages:
    - "bentoml>=1.4.39,<1.5"
    - "onnxruntime>=1.24"
    - "numpy>=2.0"
    - "orjson>=3.10"
    - "pydantic>=2.11"
    - "pydantic-settings>=2.10"
    - "pyyaml>=6.0"
    - "sqlalchemy>=2.0.40"
    - "httpx>=0.28"
"""


@dataclass(frozen=True, slots=True)
class Built:
    """A bento in its place."""

    bento: Path
    manifest: Path
    reason: str


def build_edge(
    file: ModelFile,
    shipped: Quantization,
    folder: Path,
    work: Path,
    *,
    build: BuildBento | None = None,
) -> Built:
    """Build a version for a device and put it into `<folder>/<model>`.

    Args:
        file: the registered version.
        shipped: which file to ship, and why.
        folder: the deployment target's folder.
        work: an empty folder to work in.
        build: makes the bento; BentoML by default.

    Raises:
        UnavailableError: BentoML could not build it, or the folder cannot be written to.
    """
    source = _lay_out(file, shipped, work / "source")
    draft = work / f"v{file.version}-{shipped.digest[:12]}.bento"
    (build or _build_bento)(source, draft)
    place = place_of(folder, file.model)
    try:
        place.mkdir(parents=True, exist_ok=True)
        bento = place / draft.name
        _move(draft, bento)
        manifest = place / MANIFEST
        beside = work / MANIFEST
        beside.write_text(_manifest(file, shipped, bento.name))
        _move(beside, manifest)
    except OSError as error:
        raise UnavailableError(
            f"{place} cannot be written to ({error.strerror}); check the folder of the target"
        ) from error
    return Built(bento, manifest, f"{bento.name}: {shipped.reason}")


def _lay_out(file: ModelFile, shipped: Quantization, source: Path) -> Path:
    """The folder a bento is built from."""
    code = Path(__file__).resolve().parents[2]
    ignore = shutil.ignore_patterns("__pycache__", "*.db", "*.log")
    for package in _PACKAGES:
        shutil.copytree(code / package, source / package, ignore=ignore)
    edge = source / "edge"
    edge.mkdir()
    shutil.copyfile(shipped.path, edge / "model.onnx")
    told = {"model": file.model, "version": file.version, "digest": shipped.digest}
    (edge / MANIFEST).write_text(json.dumps(told))
    (source / "bentofile.yaml").write_text(_BENTOFILE)
    return source


def _build_bento(source: Path, to: Path) -> None:
    """Build by BentoML's own command, which only serving may import.

    Raises:
        UnavailableError: it failed, or took too long.
    """
    environment = {
        **os.environ,
        "BENTOML_HOME": str(source.parent / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    _run(["build", "-f", "bentofile.yaml", "--version", "edge", "."], source, environment)
    _run(["export", "prime-spark-edge:edge", str(to)], source, environment)


def _run(arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "bentoml", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"bentoml {arguments[0]} took over {_BUILD_S:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise UnavailableError(f"bentoml {arguments[0]} failed: {lines[-1][:300]}")


def _move(source: Path, to: Path) -> None:
    """Put a file into place whole, from whatever file system."""
    draft = to.with_name(f".{to.name}.draft")
    shutil.copyfile(source, draft)
    draft.replace(to)


def _manifest(file: ModelFile, shipped: Quantization, bento: str) -> str:
    small = asdict(shipped.small) if shipped.small is not None else None
    return json.dumps(
        {
            "model": file.model,
            "version": file.version,
            "source_digest": file.digest,
            "digest": shipped.digest,
            "bento": bento,
            "quantized": shipped.kept,
            "reason": shipped.reason,
            "metric": shipped.metric,
            "original": asdict(shipped.original),
            "small": small,
        },
        indent=2,
        sort_keys=True,
    )
