"""Who serves a model: a pure decision from alias and route, and the plan made of it.

The registry is the truth: the version under `@champion` serves everything. A route divides the
traffic only while it was made for that same champion; once a person moves the alias, the split is
ignored from the next poll on, whatever the experiment thinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from registry.records import ModelSchema, Route, RouteMode, Variant
from registry.splitter import Division
from serving.loaded import LoadedModel
from serving.recording import Recording
from serving.request_ids import RequestIdSigner
from serving.tally import Tally


@dataclass(frozen=True, slots=True)
class Wanted:
    """The versions that should serve a model, and how its traffic is divided."""

    champion: int
    challenger: int | None = None
    mode: RouteMode = RouteMode.NONE
    weight: float = 0.0
    salt: str = ""
    experiment_id: str | None = None


def wanted(champion: int, route: Route | None) -> Wanted:
    """Return what alias and route ask for together."""
    if (
        route is None
        or route.mode is RouteMode.NONE
        or route.champion != champion
        or route.challenger is None
        or route.challenger == champion
    ):
        return Wanted(champion)
    return Wanted(
        champion, route.challenger, route.mode, route.weight, route.salt, route.experiment_id
    )


def mismatch(champion: ModelSchema, challenger: ModelSchema) -> str | None:
    """Return why the challenger cannot stand in for the champion, or None if it can.

    Requests are checked against the champion before it is decided who answers, so both have to
    take the same inputs.
    """
    ours = {spec.name: (spec.dtype, spec.shape) for spec in champion.inputs}
    theirs = {spec.name: (spec.dtype, spec.shape) for spec in challenger.inputs}
    if ours == theirs:
        return None
    return f"it takes {_listed(challenger)}, the champion takes {_listed(champion)}"


def _listed(schema: ModelSchema) -> str:
    return ", ".join(
        f"{spec.name} {spec.dtype}{['any' if axis is None else axis for axis in spec.shape]}"
        for spec in schema.inputs
    )


class Arm:
    """A version in the part it plays: what its answers and its counts carry."""

    __slots__ = ("context", "head", "loaded", "tally", "variant", "version_text")

    def __init__(self, loaded: LoadedModel, tally: Tally) -> None:
        self.loaded = loaded
        self.tally = tally
        self.variant = tally.variant
        self.version_text = str(tally.version)
        self.context = RequestIdSigner.context(
            tally.model, tally.version, tally.variant, tally.experiment_id
        )
        name = orjson.dumps(tally.model)
        self.head = b'{"model":%b,"version":%d,"variant":"%b","request_id":"' % (
            name,
            tally.version,
            tally.variant.value.encode(),
        )


class Plan:
    """How one model is served now; never changed, only replaced as a whole."""

    __slots__ = ("_division", "challenger", "champion", "recording", "shadow", "wanted", "weight")

    def __init__(
        self, want: Wanted, champion: Arm, other: Arm | None, recording: Recording | None = None
    ) -> None:
        self.wanted = want
        self.recording = recording
        self.champion = champion
        self.challenger = other if want.mode is RouteMode.AB else None
        self.shadow = other if want.mode is RouteMode.SHADOW else None
        self.weight = want.weight
        self._division = Division(want.salt, want.weight)

    def arm(self, key: bytes) -> Arm:
        """Return the arm that answers requests with this key."""
        challenger = self.challenger
        if challenger is not None and self._division.to_challenger(key):
            return challenger
        return self.champion

    @property
    def arms(self) -> list[Arm]:
        """All arms of the plan, the champion first."""
        return [arm for arm in (self.champion, self.challenger, self.shadow) if arm is not None]


def other_variant(mode: RouteMode) -> Variant:
    """Return the part the second version plays in a mode."""
    return Variant.SHADOW if mode is RouteMode.SHADOW else Variant.CHALLENGER
