"""The model registry: how many models there are, and which versions their aliases name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from config.clock import Clock
from config.errors import RegistryUnavailable
from optimizers.targets.base import Observed, ObserveOnly
from optimizers.targets.readings import Readings
from registry.alias_client import aliases_in
from registry.rest import Json, RestClient

CHAMPION = "champion"

_CALL = "registered-models/search"
_PAGE = "1000"
_MAX_PAGES = 100
_IS_PROMPT = "mlflow.prompt.is_prompt"


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """The aliases of every registered model and the versions they name."""

    aliases: Mapping[str, Mapping[str, int]]


class RegistryTarget(ObserveOnly):
    """The registry of one MLflow server.

    Args:
        tracking_uri: ``http(s)://…``
        clock: tells how long it takes.
        timeout_s: the longest wait for one answer, seconds.
        name: the target's name.
    """

    def __init__(
        self, tracking_uri: str, clock: Clock, *, timeout_s: float = 5.0, name: str = "registry"
    ) -> None:
        self.name = name
        self._clock = clock
        self._rest = RestClient(tracking_uri, timeout_s)

    def observe(self, at: float, timeout_s: float) -> Observed:
        """List the models; see :class:`optimizers.targets.base.Target`."""
        aliases = self._aliases(self._clock.monotonic() + timeout_s)
        readings = Readings(self.name, at)
        readings.add("registered_models", float(len(aliases)))
        without = sum(CHAMPION not in names for names in aliases.values())
        readings.add("models_without_champion", float(without))
        for model, names in aliases.items():
            version = names.get(CHAMPION)
            number = None if version is None else float(version)
            readings.add("champion_version", number, "", {"model": model})
        return readings.observed(RegistryFacts(aliases))

    def _aliases(self, deadline: float) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        token = ""
        for _ in range(_MAX_PAGES):
            params = {"max_results": _PAGE} | ({"page_token": token} if token else {})
            page, token = self._rest.get(_CALL, params, _read)
            found |= page
            if not token:
                return found
            if self._clock.monotonic() > deadline:
                break
        raise RegistryUnavailable(
            f"the MLflow server {self._rest.address} does not come to the end of its models in "
            "time; check that it is up"
        )


def _read(answer: Json) -> tuple[dict[str, dict[str, int]], str]:
    models = [
        raw
        for raw in answer.get("registered_models", [])
        if all(tag["key"] != _IS_PROMPT for tag in raw.get("tags", []))
    ]
    page = {str(raw["name"]): dict(aliases_in(raw)) for raw in models}
    return page, str(answer.get("next_page_token", ""))
