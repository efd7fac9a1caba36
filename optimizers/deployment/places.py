"""How each deployment target stands to the champion it should have; looking changes nothing.

A remote predictor follows a registry. With `registry` set, that one is another than ours, and a
version is deployed by copying it there; without, it is ours, and the predictor follows by itself.
An edge folder holds one bento for each model, beside a manifest that says what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from config.errors import InputError, UnavailableError
from config.settings import DeploymentTargetSettings, Settings
from optimizers.models.facts import Placed, PlaceState
from optimizers.models.served import served_versions
from optimizers.models.watching import ModelView
from registry.catalog import Catalog
from registry.records import CHAMPION_ALIAS, ModelVersion

MANIFEST = "manifest.json"


class RemoteCatalog(Protocol):
    """What is read of a remote predictor's registry; `registry.catalog.Catalog` is the real one."""

    def aliases(self, model: str) -> dict[str, int]:
        """Alias to version. Raises RegistryUnavailable, UnknownModel."""
        ...

    def version(self, model: str, version: int) -> ModelVersion:
        """One version. Raises RegistryUnavailable, UnknownVersion."""
        ...


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands in an edge folder for one model.

    Attributes:
        source_digest: of the registered file it was made from.
        bento: name of the bento's file beside it.
    """

    version: int
    source_digest: str
    bento: str


class Places:
    """The deployment targets of the settings.

    Args:
        targets: as set.
        catalog: opens the registry of a remote predictor by its address.
    """

    def __init__(
        self, targets: Sequence[DeploymentTargetSettings], catalog: Callable[[str], RemoteCatalog]
    ) -> None:
        self._targets = targets
        self._open = catalog
        self._catalogs: dict[str, RemoteCatalog] = {}

    def see(self, views: Sequence[ModelView]) -> Iterator[Placed]:
        """Look at every target; one that does not answer is unreachable, and no error."""
        for target in self._targets:
            for view in views:
                if view.champion is None or (target.models and view.model not in target.models):
                    continue
                yield self.look(target, view.model, view.champion, _digest(view))

    def look(
        self, target: DeploymentTargetSettings, model: str, champion: int, digest: str
    ) -> Placed:
        """Look at one model of one target; `digest` is that of the champion's file."""
        try:
            if target.kind == "edge":
                return _edge(target, model, champion, digest)
            if target.url is None:
                return _away(target, model, champion, "deployment_targets names no url for it")
            if target.registry is None:
                return _following(target.name, target.url, model, champion)
            return self._remote(target, target.url, target.registry, (model, champion, digest))
        except UnavailableError as error:
            return _away(target, model, champion, str(error))

    def _remote(
        self,
        target: DeploymentTargetSettings,
        url: str,
        registry: str,
        wanted: tuple[str, int, str],
    ) -> Placed:
        model, champion, digest = wanted
        catalog = self._catalogs.setdefault(registry, self._open(registry))
        theirs = _champion_there(catalog, model)
        served = served_versions(url, model)
        if theirs is not None and theirs.digest == digest and theirs.version in served:
            detail = f"serves our version {champion} of {model} as its version {theirs.version}"
            return Placed(target.name, model, champion, champion, PlaceState.CURRENT, detail)
        shown = f"version {theirs.version} of its own" if theirs is not None else "nothing"
        detail = f"has {shown} of {model}, not our version {champion}"
        return Placed(target.name, model, champion, None, PlaceState.BEHIND, detail)


def deployment_places(settings: Settings) -> Places:
    """The deployment targets of the settings."""
    timeout_s = settings.mlflow.timeout_seconds
    return Places(
        settings.deployment_targets, lambda address: Catalog(address, timeout_s=timeout_s)
    )


def place_of(folder: Path, model: str) -> Path:
    """Where an edge folder keeps a model: one level below it, whatever the model's name."""
    name = quote(model, safe=" ")
    return folder / (f"%2E{name[1:]}" if name.startswith(".") else name)


def read_manifest(folder: Path, model: str) -> Manifest | None:
    """What an edge folder holds of a model; None for nothing usable."""
    try:
        raw: Mapping[str, object] = json.loads((place_of(folder, model) / MANIFEST).read_text())
        return Manifest(int(str(raw["version"])), str(raw["source_digest"]), str(raw["bento"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _edge(target: DeploymentTargetSettings, model: str, champion: int, digest: str) -> Placed:
    if target.folder is None:
        return _away(target, model, champion, "deployment_targets names no folder for it")
    folder = target.folder.expanduser()
    if not folder.is_dir():
        return _away(target, model, champion, f"there is no folder {folder}; make or mount it")
    held = read_manifest(folder, model)
    if held is None or not (place_of(folder, model) / held.bento).is_file():
        detail = f"holds no bento of {model} yet"
        return Placed(target.name, model, champion, None, PlaceState.BEHIND, detail)
    if (held.version, held.source_digest) == (champion, digest):
        detail = f"holds version {champion} of {model}"
        return Placed(target.name, model, champion, champion, PlaceState.CURRENT, detail)
    detail = f"holds version {held.version} of {model}, not {champion}"
    return Placed(target.name, model, champion, held.version, PlaceState.BEHIND, detail)


def _following(place: str, url: str, model: str, champion: int) -> Placed:
    served = served_versions(url, model)
    if champion in served:
        detail = f"serves version {champion} of {model}"
        return Placed(place, model, champion, champion, PlaceState.CURRENT, detail)
    shown = ", ".join(map(str, served)) or "nothing"
    detail = f"follows this registry by itself, and serves {shown} of {model}, not {champion}"
    deployed = served[0] if served else None
    return Placed(place, model, champion, deployed, PlaceState.BEHIND, detail, deployable=False)


def _champion_there(catalog: RemoteCatalog, model: str) -> ModelVersion | None:
    try:
        version = catalog.aliases(model).get(CHAMPION_ALIAS)
        return catalog.version(model, version) if version is not None else None
    except InputError:
        return None


def _away(target: DeploymentTargetSettings, model: str, champion: int, why: str) -> Placed:
    return Placed(target.name, model, champion, None, PlaceState.UNREACHABLE, why)


def _digest(view: ModelView) -> str:
    held = (one.digest for one in view.versions if one.version == view.champion)
    return next(held, None) or ""
