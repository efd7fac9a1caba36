"""A registry of aliases in memory: a real implementation of the seam, with MLflow's manners.

It can stop working in the ways a server does, and tells what was written to it.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from config.errors import RegistryUnavailable, UnknownModel, UnknownVersion


class MemoryAliases:
    """The aliases of some models with the versions 1 to `newest`.

    Attributes:
        writes: every write that took effect, in order; None for a deletion.
        away: while it is true, every call fails.
        lose_answers: while it is true, a write takes effect and then seems to have failed.
        lose_writes: while it is true, a write seems to have failed and had no effect.
    """

    def __init__(self, *models: str, newest: int = 9) -> None:
        self._aliases: dict[str, dict[str, int]] = {model: {} for model in models}
        self._newest = newest
        self._guard = threading.Lock()
        self.writes: list[tuple[str, str, int | None]] = []
        self.away = False
        self.lose_answers = False
        self.lose_writes = False

    def aliases(self, model: str) -> dict[str, int]:
        """The aliases of a model."""
        self._reach(model)
        with self._guard:
            return dict(self._aliases[model])

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias name a version."""
        self._reach(model)
        if not 1 <= version <= self._newest:
            raise UnknownVersion(f"{model} has no version {version}")
        self._write(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        self._reach(model)
        self._write(model, alias, None)

    def _write(self, model: str, alias: str, version: int | None) -> None:
        if self.lose_writes:
            raise RegistryUnavailable("the request was lost")
        with self._guard:
            if version is None:
                self._aliases[model].pop(alias, None)
            else:
                self._aliases[model][alias] = version
            self.writes.append((model, alias, version))
        if self.lose_answers:
            raise RegistryUnavailable("the answer was lost")

    def _reach(self, model: str) -> None:
        if self.away:
            raise RegistryUnavailable("the registry is away")
        if model not in self._aliases:
            raise UnknownModel(f"there is no model {model}")


class FileAliases:
    """The aliases of models in a file, for tests whose processes die."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def writes(self, model: str) -> list[tuple[str, int | None]]:
        """Every write that took effect on a model, in order."""
        lines = map(json.loads, self._path.read_text().splitlines())
        return [(alias, version) for written, alias, version in lines if written == model]

    def aliases(self, model: str) -> dict[str, int]:
        """The aliases as they are now."""
        latest = dict(self.writes(model))
        return {alias: version for alias, version in latest.items() if version is not None}

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias name a version."""
        self._append(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        self._append(model, alias, None)

    def _append(self, model: str, alias: str, version: int | None) -> None:
        # One write call of a short line at the end of a file is atomic.
        line = json.dumps([model, alias, version]) + "\n"
        with self._path.open("ab", buffering=0) as stream:
            stream.write(line.encode())
