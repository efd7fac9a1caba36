from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from flows.context import open_context


@pytest.fixture
def flow_log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the logger of flow runs passes on, to us instead of to a Prefect server."""
    logger = logging.getLogger("prefect.flow_runs")
    stream = io.StringIO()
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(logger, "propagate", False)
    return stream


def test_a_flow_s_log_gives_no_password_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow_log: io.StringIO
) -> None:
    monkeypatch.setenv("PRIME_SPARK_HOME", str(tmp_path))
    open_context()
    logging.getLogger("prefect.flow_runs").error("cannot reach postgresql://me:%s@db/x", "hunter2")
    assert "cannot reach postgresql://" in flow_log.getvalue()
    assert "hunter2" not in flow_log.getvalue()
