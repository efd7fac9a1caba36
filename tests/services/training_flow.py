"""Training as a user deploys it on Prefect: a flow that registers what it made by itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

from prefect import flow

from flows.context import open_context
from tests.services.toy_models import classifier


@flow(name="train-toy", persist_result=False)
def train_toy(model: str, reason: str) -> None:
    """Register a version that is wrong more often than its champion."""
    with tempfile.TemporaryDirectory() as folder:
        file = classifier(Path(folder) / "new.onnx", 0.3)
        open_context().registry.register(model, file, description=f"trained: {reason}")
