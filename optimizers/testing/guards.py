"""Guards for trying effects outside the agent."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.errors import ConflictError, StaleToken


@dataclass(slots=True)
class FreeGuard:
    """Lets every effect happen and counts how often it was asked."""

    checks: int = 0

    def check(self) -> None:
        """Do nothing but count."""
        self.checks += 1


def _stale() -> ConflictError:
    return StaleToken("the action has passed to another holder; nothing was changed")


@dataclass(slots=True)
class RefusingGuard:
    """Refuses every effect; by default as for an action that somebody else works on now."""

    error: ConflictError = field(default_factory=_stale)

    def check(self) -> None:
        """Raise the error.

        Raises:
            ConflictError: always.
        """
        raise self.error
