"""The target `models`: every model's place in its life-cycle, its aliases and its retired versions.

It reads registry, ledger, predictor and the places that models come from and go to. It decides and
starts nothing. Its knobs are aliases (`alias:digits@champion`) and retirement marks
(`retired:digits/3`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from config.errors import ConflictError, InputError
from config.settings import Settings
from optimizers.models.desk import Desk
from optimizers.models.facts import TARGET, alias_knob
from optimizers.models.looking import FindUpdates, Look, SeePlaces, Sources, nothing, numbers
from optimizers.models.model_tools import Retirement
from optimizers.models.observing import RunStates, watched_models
from optimizers.targets.base import Guard, Observed
from registry.agent_records import Change
from registry.records import CHAMPION_ALIAS

_ALIAS, _RETIRED = "alias:", "retired:"
_ACTOR = "agent"


class ModelsTarget:
    """The models of one registry.

    Args:
        desk: registry and ledger.
        settings: which models, windows and thresholds.
        run_states: asks Prefect what became of flow runs.
        retirement: marks versions as retired; without it those knobs are refused.
        predictor_url: where to see what is served; None when no predictor is known.
        find_updates: looks for model files outside the registry.
        see_places: looks at the deployment targets.
    """

    name = TARGET

    def __init__(  # noqa: PLR0913 - these are the places it looks at
        self,
        desk: Desk,
        settings: Settings,
        run_states: RunStates,
        *,
        retirement: Retirement | None = None,
        predictor_url: str | None = None,
        find_updates: FindUpdates = nothing,
        see_places: SeePlaces = nothing,
    ) -> None:
        self._desk = desk
        self._settings = settings
        self._retirement = retirement
        self._sources = Sources(desk, settings, run_states, predictor_url, find_updates, see_places)
        self._next = ""

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Look at every model; those there was no time for come first the next time.

        Raises:
            UnavailableError: the registry does not answer.
        """
        end = self._desk.clock.monotonic() + timeout_s
        look = Look()
        models = self._in_turn(watched_models(self._desk, self._settings))
        for number, model in enumerate(models):
            if self._desk.clock.monotonic() >= end:
                self._next = model
                look.unseen.update(models[number:])
                look.troubles.append(f"no time was left for {len(models) - number} models")
                break
            look.add(self._sources, model)
        facts = look.facts(self._sources, end)
        return Observed(tuple(numbers(facts, at)), facts, tuple(look.troubles))

    def knobs(self) -> Sequence[str]:
        """The champion aliases; retirement marks are knobs too, but too many to list.

        Raises:
            UnavailableError: the registry does not answer.
        """
        return [alias_knob(model, CHAMPION_ALIAS) for model in self._desk.registry.models()]

    def read(self, knob: str) -> JsonValue:
        """Return the version an alias names (None: no such alias), or whether one is retired."""
        if knob.startswith(_ALIAS):
            model, alias = _alias_of(knob)
            return self._desk.registry.aliases(model).get(alias)
        return self._marks().is_retired(*_version_of(knob))

    def write(self, change: Change, guard: Guard) -> None:
        """Move an alias, or set a mark, from `change.before` to `change.after`.

        An alias is compared and moved under the lock of all movers of aliases, and the guard is
        asked between the two. A mark has no lock: whoever holds the action is its only writer.
        """
        if change.knob.startswith(_ALIAS):
            self._move(change, guard)
            return
        model, version = _version_of(change.knob)
        guard.check()
        now = self._marks().is_retired(model, version)
        if now == change.after:
            return
        if now != change.before or not isinstance(change.after, bool):
            raise ConflictError(f"{change.knob} is {now}, not {change.before}; it was left alone")
        self._marks().set_retired(model, version, change.after)

    def _move(self, change: Change, guard: Guard) -> None:
        model, alias = _alias_of(change.knob)
        guard.check()
        self._desk.moves.recover(model)
        now = self._desk.registry.aliases(model).get(alias)
        if now == change.after:
            return
        if now != change.before:
            raise ConflictError(f"{change.knob} is {now}, not {change.before}; it was left alone")
        self._desk.moves.move(
            model,
            alias,
            expected=now,
            to=_version(change.after),
            actor=_ACTOR,
            reason=f"{change.knob} from {change.before} to {change.after}",
            permit=guard.check,
        )

    def _in_turn(self, models: list[str]) -> list[str]:
        later = [model for model in models if model >= self._next]
        self._next = ""
        return later + [model for model in models if model not in later]

    def _marks(self) -> Retirement:
        if self._retirement is None:
            raise InputError("versions cannot be retired from here; no registry was given for it")
        return self._retirement


def _alias_of(knob: str) -> tuple[str, str]:
    model, at, alias = knob.removeprefix(_ALIAS).rpartition("@")
    if not (at and model and alias):
        raise InputError(f"{knob!r} is no knob; write alias:<model>@<alias>")
    return model, alias


def _version_of(knob: str) -> tuple[str, int]:
    model, slash, version = knob.removeprefix(_RETIRED).rpartition("/")
    if not (
        knob.startswith(_RETIRED) and slash and model and version.isascii() and version.isdigit()
    ):
        raise InputError(f"{knob!r} is no knob; write alias:<model>@<alias> or retired:<model>/<n>")
    return model, int(version)


def _version(value: JsonValue) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise InputError(f"an alias names a version or nothing, not {value!r}")
