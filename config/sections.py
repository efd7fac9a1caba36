"""What every group of settings is made of: the strict section, and the types of its values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode


def _split_names(value: object) -> object:
    """Let an environment variable hold names as `one,two`."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Alpha = Annotated[float, Field(gt=0.0, lt=0.5)]
Seconds = Annotated[float, Field(gt=0.0, le=31_536_000.0)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Loopback = Literal["127.0.0.1", "localhost", "::1"]


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
