"""Brings a version to a remote predictor: into its registry, and there behind `@champion`.

The predictor is then seen to serve it; if it does not, both aliases are put back exactly. Moves are
made by the same mover as here, under the ledger's lock; their history stands under the name
`<target>:<model>`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.clock import Clock
from config.errors import ConflictError
from optimizers.models.served import served_versions
from registry.alias_client import AliasRegistry
from registry.aliases import AliasMover
from registry.records import CHAMPION_ALIAS, PREVIOUS_ALIAS

_ACTOR = "model_deploy"
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class NamedAliases:
    """Aliases of another registry under names of their own: `<place>:<model>`."""

    place: str
    there: AliasRegistry

    def name(self, model: str) -> str:
        """The name here of a model there."""
        return f"{self.place}:{model}"

    def aliases(self, model: str) -> dict[str, int]:
        """The aliases of a model and the versions they name."""
        return self.there.aliases(self._theirs(model))

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias name a version, whatever it named before."""
        self.there.set_alias(self._theirs(model), alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error."""
        self.there.delete_alias(self._theirs(model), alias)

    def _theirs(self, model: str) -> str:
        return model.removeprefix(f"{self.place}:")


@dataclass(frozen=True, slots=True)
class Remote:
    """One remote predictor.

    Attributes:
        mover: moves the aliases of `aliases`.
        deadline_s: how long the predictor may take to follow.
    """

    url: str
    aliases: NamedAliases
    mover: AliasMover
    clock: Clock
    wait: Callable[[float], None]
    deadline_s: float = 60.0

    def deploy(self, model: str, version: int, reason: str) -> str:
        """Let the remote @champion be `version` (its number there); return what is served.

        Raises:
            ConflictError: the predictor does not serve it; the aliases are as before.
            RegistryUnavailable: repeat it to go on.
        """
        name = self.aliases.name(model)
        self.mover.recover(name)
        before = self.aliases.aliases(name)
        if before.get(CHAMPION_ALIAS) != version:
            self.mover.promote(
                name,
                version,
                expected_champion=before.get(CHAMPION_ALIAS),
                actor=_ACTOR,
                reason=reason,
            )
        if self._follows(model, version):
            return f"it serves version {version} of its own"
        self._put_back(name, before)
        raise ConflictError(
            f"{self.url} did not serve {model} version {version} within {self.deadline_s:g} s; its "
            "aliases are as before; see the predictor's log"
        )

    def _follows(self, model: str, version: int) -> bool:
        end = self.clock.monotonic() + self.deadline_s
        while version not in served_versions(self.url, model):
            if self.clock.monotonic() >= end:
                return False
            self.wait(_POLL_S)
        return True

    def _put_back(self, name: str, before: dict[str, int]) -> None:
        now = self.aliases.aliases(name)
        for alias in (CHAMPION_ALIAS, PREVIOUS_ALIAS):
            if now.get(alias) != before.get(alias):
                self.mover.move(
                    name,
                    alias,
                    expected=now.get(alias),
                    to=before.get(alias),
                    actor=_ACTOR,
                    reason="taken back: the predictor did not follow",
                )
