"""What every test has at hand: the real servers of `tests.services`, started when asked for."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Nothing of the machine's own set-up reaches a test, nor a server that a test starts.
for name in [name for name in os.environ if name.startswith(("MLFLOW_", "PRIME_SPARK_"))]:
    del os.environ[name]
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

# The plugins import each other; all of them are to be rewritten, whoever comes first.
pytest.register_assert_rewrite("tests.services")
pytest_plugins = sorted(
    f"tests.services.{path.stem}"
    for path in (Path(__file__).parent / "services").glob("[a-z]*.py")
    if "@pytest.fixture" in path.read_text()
)

# Shared machines pause: a slow example is no failure, a wrong one prints how to repeat it.
hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")
