"""Where new models come from besides the registry: a watched folder, and another registry.

Finding them changes nothing. Bringing one in (`bring`) is done in the flow that registers it: the
file is copied, checked against the digest that was found, and only then handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from config.clock import Clock
from config.errors import InputError, ModelRefused
from config.redaction import redact
from config.settings import Settings
from optimizers.models.facts import Update
from optimizers.models.watching import ModelView
from registry.evaluation import EvaluationData
from registry.model_folder import ModelFolder
from registry.reader import RegistryReader
from registry.records import CHAMPION_ALIAS, ModelFile, ModelVersion

_FOLDER, _REGISTRY = "folder:", "registry:"


class OtherRegistry(Protocol):
    """What is read of another registry; `registry.reader.RegistryReader` is the real one."""

    def all_aliases(self) -> dict[str, dict[str, int]]:
        """The aliases of every model. Raises RegistryUnavailable."""
        ...

    def version(self, model: str, version: int) -> ModelVersion:
        """One version. Raises RegistryUnavailable, UnknownVersion."""
        ...

    def fetch(self, model: str, version: int) -> ModelFile:
        """A version's file, checked. Raises RegistryUnavailable, ModelRefused."""
        ...

    def fetch_evaluation(self, model: str, version: int) -> EvaluationData:
        """A version's evaluation data. Raises RegistryUnavailable, InputError."""
        ...


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file ready to be registered."""

    path: Path
    evaluation: EvaluationData | None
    description: str


class UpdateSources:
    """The places of one installation.

    Args:
        folder: the watched folder; None for none.
        other: the other registry; None for none.
        address: the other registry's address, for people.
        names: the models to look after; empty for all.
    """

    def __init__(
        self,
        folder: ModelFolder | None,
        other: OtherRegistry | None,
        *,
        address: str = "",
        names: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._other = other
        self._address = address
        self._names = names
        self._digests: dict[tuple[str, int], str] = {}

    def find(self, views: Sequence[ModelView]) -> list[Update]:
        """What is there and not in the registry; the retired count as known.

        Raises:
            RegistryUnavailable: the other registry does not answer.
            InputError: the folder cannot be used.
        """
        known = {one.digest for view in views for one in view.versions if one.digest}
        found = [*self._in_folder(), *self._elsewhere()]
        return [one for one in found if one.refused or one.digest not in known]

    def bring(self, model: str, reference: str, digest: str, to: Path) -> Incoming:
        """Fetch what `find` named by this reference, checked against its digest.

        Raises:
            InputError: it is not there any more, is another file, or is refused.
            RegistryUnavailable: the other registry does not answer.
        """
        if reference.startswith(_FOLDER) and self._folder is not None:
            name = reference.removeprefix(_FOLDER)
            if Path(name).parts[:1] != (model,):
                raise InputError(f"{name!r} is no file for {model}; it stands in another folder")
            path, evaluation = self._folder.take(name, digest, to)
            return Incoming(path, evaluation, f"from the watched folder: {name}")
        if reference.startswith(_REGISTRY) and self._other is not None:
            return self._fetched(self._other, model, reference, digest)
        raise InputError(
            f"{reference!r} names no source; set models.watched_folder or models.source_registry"
        )

    def _in_folder(self) -> list[Update]:
        if self._folder is None:
            return []
        return [
            Update(one.model, one.name, f"{_FOLDER}{one.name}", one.digest, one.refused)
            for one in self._folder.scan()
            if self._wanted(one.model)
        ]

    def _elsewhere(self) -> list[Update]:
        if self._other is None:
            return []
        found = []
        for model, aliases in sorted(self._other.all_aliases().items()):
            version = aliases.get(CHAMPION_ALIAS)
            if version is not None and self._wanted(model):
                found.append(self._champion(self._other, model, version))
        return found

    def _champion(self, other: OtherRegistry, model: str, version: int) -> Update:
        source = f"{model} version {version} at {self._address}"
        digest = self._digests.get((model, version))
        if digest is None:
            digest = other.version(model, version).digest or ""
            if digest:
                # What was pinned stays so; what was not may be pinned later.
                self._digests[model, version] = digest
        refused = "" if digest else "no digest is pinned there; adopt it there first"
        return Update(model, source, f"{_REGISTRY}{version}", digest, refused)

    def _fetched(self, other: OtherRegistry, model: str, reference: str, digest: str) -> Incoming:
        number = reference.removeprefix(_REGISTRY)
        if not (number.isascii() and number.isdigit()):
            raise InputError(f"{reference!r} names no version; write registry:<number>")
        file = other.fetch(model, int(number))
        if file.digest != digest:
            raise ModelRefused(f"{model} version {number} there is another file than was found")
        evaluation = None
        if other.version(model, int(number)).evaluation_digest is not None:
            evaluation = other.fetch_evaluation(model, int(number))
        return Incoming(file.path, evaluation, f"from {self._address}: version {number}")

    def _wanted(self, model: str) -> bool:
        return not self._names or model in self._names


def update_sources(settings: Settings, clock: Clock) -> UpdateSources:
    """The places models come from, as the settings name them.

    Raises:
        ConfigError: the other registry's address is not one of a server, or the cache cannot be
            made.
    """
    models, other = settings.models, None
    if models.source_registry is not None:
        cache = settings.home_dir.create().model_cache
        timeout_s = settings.mlflow.timeout_seconds
        other = RegistryReader(models.source_registry, cache, timeout_s=timeout_s)
    folder = models.watched_folder
    return UpdateSources(
        ModelFolder(folder.expanduser(), clock) if folder is not None else None,
        other,
        address=redact(models.source_registry or ""),
        names=models.names,
    )
