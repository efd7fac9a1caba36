"""A registry of aliases in memory: a real implementation of the seam, with MLflow's manners.

It can stop working in the ways a server does, and tells what was written to it.
"""

from __future__ import annotations

import threading

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
