"""The environment variables of everything that `prime-spark up` starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config.settings import Settings
from config.variables import CONFIG_VARIABLE, PREFIX, UP_VARIABLE
from flows.up.session import Urls

# Servers of our own are not to be bent by what a user has set for others.
_FOREIGN = ("PREFECT_", "MLFLOW_", "_MLFLOW_", "BENTOML_")
_WORKER_POLL_SECONDS = "1"


def child_environment(
    base: Mapping[str, str],
    settings: Settings,
    urls: Urls,
    *,
    up_id: str,
    config_file: Path | None,
) -> dict[str, str]:
    """Return the variables by which a child finds its settings and the servers.

    Args:
        base: the environment of the user.
        settings: as the user set them; a server the user named keeps the variables made for it.
        urls: where the servers are.
        up_id: the mark by which everything started is found again.
        config_file: the user's settings file, if any.
    """
    kept = {name: value for name, value in base.items() if not _is_foreign(name, settings)}
    kept |= _prime_spark(settings, urls, config_file)
    kept |= _prefect(settings, urls) | _mlflow(settings, urls) | _bentoml(settings)
    return kept | {
        UP_VARIABLE: up_id,
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def _is_foreign(name: str, settings: Settings) -> bool:
    if settings.prefect.api_url and name.startswith("PREFECT_"):
        return False
    if settings.mlflow.tracking_uri and name.startswith("MLFLOW_"):
        return False
    return name.startswith(_FOREIGN)


def _prime_spark(settings: Settings, urls: Urls, config_file: Path | None) -> dict[str, str]:
    port = urls.predictor.rpartition(":")[2]
    variables = {
        f"{PREFIX}HOME": str(settings.home_dir.root),
        f"{PREFIX}MLFLOW__TRACKING_URI": urls.mlflow,
        f"{PREFIX}PREFECT__API_URL": urls.prefect_api,
        f"{PREFIX}SERVING__PORT": port,
    }
    if config_file is not None:
        variables[CONFIG_VARIABLE] = str(config_file.absolute())
    return variables


def _prefect(settings: Settings, urls: Urls) -> dict[str, str]:
    variables = {
        "PREFECT_API_URL": urls.prefect_api,
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": _WORKER_POLL_SECONDS,
        "PREFECT_LOGGING_TO_API_LEVEL": "INFO",
    }
    if settings.prefect.api_url:
        return variables
    folder = settings.home_dir.root / "prefect"
    return variables | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def _mlflow(settings: Settings, urls: Urls) -> dict[str, str]:
    variables = {"MLFLOW_TRACKING_URI": urls.mlflow, "MLFLOW_DISABLE_TELEMETRY": "true"}
    if not settings.mlflow.tracking_uri:
        variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    return variables


def _bentoml(settings: Settings) -> dict[str, str]:
    return {
        "BENTOML_HOME": str(settings.home_dir.root / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
