"""What a running `prime-spark up` hands to whatever runs inside it, such as the demo's story."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.settings import Settings


@dataclass(frozen=True, slots=True)
class Urls:
    """Addresses without a trailing slash; `prefect_api` is `prefect` plus `/api`."""

    prefect: str
    prefect_api: str
    mlflow: str
    predictor: str


@dataclass(frozen=True, slots=True)
class UpSession:
    """One run of `prime-spark up`, all servers of which answer.

    Attributes:
        settings: the settings with every address filled in: `mlflow.tracking_uri`,
            `prefect.api_url`, `serving.port` and `home` are those of the running servers.
        urls: where the servers answer.
        environment: environment variables a further process needs to find the same servers
            (`PRIME_SPARK_…`, `PREFECT_…`, `MLFLOW_…`); processes started with them are swept
            away when this run ends.
        stop: set when the user asked to stop or a server died; long waits look at it.
    """

    settings: Settings
    urls: Urls
    environment: Mapping[str, str]
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class StoryResult:
    """Whether every chapter came out as told; if not, `reason` says which and why."""

    ok: bool
    reason: str
