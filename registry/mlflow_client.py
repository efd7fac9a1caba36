"""mlflow's own client, held to our time limits and our kinds of error.

Importing this costs two seconds and 80 MB: leave it to processes that write to MLflow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Read by mlflow at import and at each request. What the user has set stays.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

from config.errors import (
    InputError,
    RegistryUnavailable,
    UnknownModel,
    UnknownVersion,
)
from config.redaction import redact
from registry.rest import RestClient

EXISTS = "RESOURCE_ALREADY_EXISTS"

_MISSING = "RESOURCE_DOES_NOT_EXIST"


def connect(tracking_uri: str) -> MlflowClient:
    """A client of that server.

    Raises:
        ConfigError: the address is not one of a server.
        RegistryUnavailable: it does not answer, found out quickly.
    """
    rest = RestClient(tracking_uri, 3.0)
    try:
        rest.get("registered-models/search", {"max_results": "1"}, lambda found: found)
    finally:
        rest.close()
    return MlflowClient(tracking_uri)


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of an MLflow experiment, which is made when it is missing."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != EXISTS:
            raise
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


@contextmanager
def translated(tracking_uri: str) -> Iterator[None]:
    """Turn mlflow's errors into ours."""
    try:
        yield
    except MlflowException as error:
        raise _translation(tracking_uri, error) from error
    except RequestException as error:
        raise _unavailable(tracking_uri, error) from error


def _translation(tracking_uri: str, error: MlflowException) -> Exception:
    message = redact(str(error.message).split("\n")[0].rstrip("."))
    if error.error_code == _MISSING:
        kind = UnknownModel if "Registered Model" in message else UnknownVersion
        return kind(f"{message}, at {redact(tracking_uri)}; check the name")
    status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
    if status < 500:
        return InputError(f"MLflow at {redact(tracking_uri)} refuses the request: {message}")
    return _unavailable(tracking_uri, error)


def _unavailable(tracking_uri: str, error: Exception) -> RegistryUnavailable:
    cause = redact(str(error).strip().split("\n")[0])
    return RegistryUnavailable(
        f"the MLflow server {redact(tracking_uri)} is not usable ({cause}); check that it is up"
    )
