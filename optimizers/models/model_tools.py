"""What the model actions work with besides the general tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from config.errors import ConfigError
from config.settings import Settings
from optimizers.capability import Tools
from optimizers.models.desk import Desk
from optimizers.models.promotion import Serving

EXTRA = "models"
"""Under this name they stand in `Tools.extras`."""


class Retirement(Protocol):
    """Marks versions as retired and takes the mark away; `registry.retirement` is the real one."""

    def is_retired(self, model: str, version: int) -> bool:
        """Say whether a version carries the mark. Raises RegistryUnavailable, UnknownVersion."""
        ...

    def set_retired(self, model: str, version: int, retired: bool) -> None:
        """Set or take away the mark. Raises RegistryUnavailable, UnknownVersion."""
        ...


@dataclass(frozen=True, slots=True)
class ModelTools:
    """The life-cycle's desk, and where to see what is served."""

    desk: Desk
    settings: Settings
    serving: Serving


def model_tools(tools: Tools) -> ModelTools:
    """The model actions' own tools.

    Raises:
        ConfigError: this process was not given any.
    """
    found = tools.extras.get(EXTRA)
    if not isinstance(found, ModelTools):
        raise ConfigError(f"the tools hold no {EXTRA!r}; model actions need registry and ledger")
    return found
