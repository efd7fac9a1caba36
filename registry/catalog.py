"""Reads models, aliases and versions from MLflow without importing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from config.errors import InputError
from registry.alias_client import aliases_in
from registry.records import ModelVersion
from registry.rest import Json, RestClient
from registry.version_tags import version_from_json

_PAGE = "1000"
_IS_PROMPT = "mlflow.prompt.is_prompt"
_MODELS_CALL = "registered-models/search"
_VERSIONS_CALL = "model-versions/search"

T = TypeVar("T")


class Catalog:
    """What one MLflow server knows of models; every method may raise RegistryUnavailable.

    Args:
        tracking_uri: ``http(s)://…``
        timeout_s: the longest a call may take, in seconds.
        environ: where credentials are looked up (MLFLOW_TRACKING_USERNAME and so on).
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        timeout_s: float = 3.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._rest = RestClient(tracking_uri, timeout_s, environ)

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def models(self) -> list[str]:
        """The names of the registered models, sorted."""
        return sorted(self.all_aliases())

    def all_aliases(self) -> dict[str, dict[str, int]]:
        """The aliases of every model, in one call for up to a thousand models."""
        found = self._pages(_MODELS_CALL, {}, "registered_models", _named_aliases)
        return dict(item for item in found if item is not None)

    def aliases(self, model: str) -> dict[str, int]:
        """The aliases of a model and the versions they name.

        Raises:
            UnknownModel: there is no such model.
        """
        call, params = "registered-models/get", {"name": model}
        return self._rest.get(call, params, lambda found: aliases_in(found["registered_model"]))

    def versions(self, model: str) -> list[ModelVersion]:
        """The versions of a model that are ready, oldest first; none for an unknown model."""
        params = {"filter": f"name={_quoted(model)}"}
        found = self._pages(_VERSIONS_CALL, params, "model_versions", _ready)
        ready = [item for item in found if item is not None and item.model == model]
        return sorted(ready, key=lambda item: item.version)

    def version(self, model: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            UnknownVersion: there is no such version, or it is not ready.
        """
        params = {"name": model, "version": str(version)}
        call = "model-versions/get"
        return self._rest.get(call, params, lambda found: version_from_json(found["model_version"]))

    def _pages(
        self, call: str, params: dict[str, str], name: str, convert: Callable[[Json], T]
    ) -> list[T]:
        found: list[T] = []
        token = ""
        while True:
            asked = params | {"max_results": _PAGE} | ({"page_token": token} if token else {})

            def read(answer: Json) -> tuple[list[T], str]:
                rows = [convert(item) for item in answer.get(name, [])]
                return rows, str(answer.get("next_page_token", ""))

            page, token = self._rest.get(call, asked, read)
            found.extend(page)
            if not token:
                return found


def _named_aliases(raw: Json) -> tuple[str, dict[str, int]] | None:
    is_prompt = any(tag["key"] == _IS_PROMPT for tag in raw.get("tags", []))
    return None if is_prompt else (str(raw["name"]), aliases_in(raw))


def _ready(raw: Json) -> ModelVersion | None:
    return version_from_json(raw) if raw.get("status", "READY") == "READY" else None


def _quoted(name: str) -> str:
    for quote in ("'", '"'):
        if quote not in name:
            return f"{quote}{name}{quote}"
    raise InputError(f"the model name {name} has quotes of both kinds; MLflow cannot search for it")
