"""Reads and writes aliases over REST: what the mover of aliases needs, without importing mlflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from registry.rest import Json, RestClient

_ALIAS_CALL = "registered-models/alias"


class AliasRegistry(Protocol):
    """A registry whose aliases can be read and set; MLflow's has no compare-and-set."""

    def aliases(self, model: str) -> dict[str, int]:
        """The aliases of a model and the versions they name."""
        ...

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias name a version, whatever it named before."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error."""
        ...


class AliasClient:
    """The aliases on one MLflow server; every call ends within `timeout_s` seconds.

    Raises:
        RegistryUnavailable: from every method, when the server cannot be used. After a write its
            outcome is unknown then: read before writing again.
        UnknownModel, UnknownVersion: from every method, when there is no such thing.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        timeout_s: float = 3.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._rest = RestClient(tracking_uri, timeout_s, environ)

    def aliases(self, model: str) -> dict[str, int]:
        """The aliases of a model and the versions they name."""
        call = "registered-models/get"
        return self._rest.get(
            call, {"name": model}, lambda found: aliases_in(found["registered_model"])
        )

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias name a version, whatever it named before."""
        body = {"name": model, "alias": alias, "version": str(version)}
        self._rest.send("POST", _ALIAS_CALL, body)

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error."""
        self._rest.send("DELETE", _ALIAS_CALL, {"name": model, "alias": alias})


def aliases_in(registered_model: Json) -> dict[str, int]:
    """The aliases in MLflow's JSON of a registered model."""
    found = registered_model.get("aliases", [])
    return {str(item["alias"]): int(item["version"]) for item in found}
