"""Marks versions as retired, and takes the mark away, over REST and without importing mlflow.

A retired version is not benchmarked, tried or served again; its files stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.clock import Clock
from config.errors import ConflictError
from registry.catalog import Catalog
from registry.rest import RestClient
from registry.version_tags import RETIRED


class RetirementClient:
    """The marks on one MLflow server; every call ends within `timeout_s` seconds.

    Raises:
        RegistryUnavailable: from every method, when the server cannot be used. After a write its
            outcome is unknown then: read before writing again.
        UnknownVersion: from every method, when there is no such version.
    """

    def __init__(
        self,
        tracking_uri: str,
        clock: Clock,
        *,
        timeout_s: float = 3.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._rest = RestClient(tracking_uri, timeout_s, environ)
        self._catalog = Catalog(tracking_uri, timeout_s=timeout_s, environ=environ)
        self._clock = clock

    def is_retired(self, model: str, version: int) -> bool:
        """Say whether a version carries the mark."""
        return self._catalog.version(model, version).retired

    def set_retired(self, model: str, version: int, retired: bool) -> None:
        """Set or take away the mark; as wanted already, nothing is changed.

        Raises:
            ConflictError: an alias names the version, so it cannot be retired.
        """
        if self.is_retired(model, version) == retired:
            return
        where = {"name": model, "version": str(version), "key": RETIRED}
        if not retired:
            self._rest.send("DELETE", "model-versions/delete-tag", where)
            return
        holders = [name for name, held in self._catalog.aliases(model).items() if held == version]
        if holders:
            raise ConflictError(
                f"{model} version {version} is @{holders[0]}; move that alias before retiring it"
            )
        moment = self._clock.now().isoformat()
        self._rest.send("POST", "model-versions/set-tag", where | {"value": moment})

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()
        self._catalog.close()
