"""Gathers what is known of the models: registry, ledger, predictor, and places beyond them.

One model's trouble, or one place's, is told and leaves out only what it concerns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from config.errors import PrimeSparkError, UnavailableError
from config.settings import Settings
from optimizers.models.desk import Desk
from optimizers.models.facts import TARGET, ModelFacts, Placed, PlaceState, Update
from optimizers.models.observing import RunStates, observe
from optimizers.models.served import served_versions
from optimizers.models.watching import ModelView
from registry.agent_records import Estimate, Observation
from registry.records import Stage, TrialVerdict

FindUpdates = Callable[[Sequence[ModelView]], Iterable[Update]]
SeePlaces = Callable[[Sequence[ModelView]], Iterable[Placed]]
T = TypeVar("T")

_LAG = {PlaceState.CURRENT: 0.0, PlaceState.BEHIND: 1.0}


def nothing(_views: Sequence[ModelView]) -> tuple[()]:
    """Know of no such place."""
    return ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to look.

    Attributes:
        run_states: asks Prefect what became of flow runs.
        predictor_url: where to see what is served; None when no predictor is known.
        find_updates: looks for model files outside the registry.
        see_places: looks at the deployment targets.
    """

    desk: Desk
    settings: Settings
    run_states: RunStates
    predictor_url: str | None = None
    find_updates: FindUpdates = nothing
    see_places: SeePlaces = nothing


@dataclass(slots=True)
class Look:
    """What one look has gathered so far.

    Attributes:
        troubles: what did not work, in sentences.
        unseen: models that could not be looked at: whether a file is new for them is not known.
        predictor_away: it did not answer once, and is not asked again.
    """

    views: dict[str, ModelView] = field(default_factory=dict)
    gains: dict[tuple[str, int], Estimate] = field(default_factory=dict)
    served: dict[str, tuple[int, ...]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    predictor_away: bool = False

    def add(self, sources: Sources, model: str) -> None:
        """Look at one model."""
        try:
            view = observe(sources.desk, sources.settings, model, sources.run_states)
            self.gains.update(_gains(sources.desk, view))
        except PrimeSparkError as error:
            self.unseen.add(model)
            self.troubles.append(f"{model}: {error}")
            return
        self.views[model] = view
        if sources.predictor_url is None or view.champion is None or self.predictor_away:
            return
        try:
            self.served[model] = served_versions(sources.predictor_url, model)
        except UnavailableError as error:
            # Asked for each model again, it would take all the time there is.
            self.predictor_away = True
            self.troubles.append(str(error))

    def facts(self, sources: Sources, end: float) -> ModelFacts:
        """Everything gathered, with the places beyond the registry, as far as there is time.

        Args:
            sources: where to look.
            end: when to stop, on the monotonic clock.
        """
        views = list(self.views.values())
        updates = self._asked(sources, lambda: sources.find_updates(views), end)
        return ModelFacts(
            views=self.views,
            gains=self.gains,
            served=self.served,
            updates=tuple(one for one in updates if one.model not in self.unseen),
            places=self._asked(sources, lambda: sources.see_places(views), end),
        )

    def _asked(self, sources: Sources, ask: Callable[[], Iterable[T]], end: float) -> tuple[T, ...]:
        found: list[T] = []
        try:
            for one in ask():
                found.append(one)
                if sources.desk.clock.monotonic() >= end:
                    self.troubles.append("no time was left for all places beyond the registry")
                    break
        except (PrimeSparkError, OSError) as error:
            self.troubles.append(str(error))
        return tuple(found)


def numbers(facts: ModelFacts, at: float) -> Iterator[Observation]:
    """The facts that are numbers; what is not known is left out."""
    for model, view in facts.views.items():
        labels = (("model", model),)
        kept = [one for one in view.versions if not one.retired]
        yield Observation(TARGET, "model_versions", float(len(kept)), at, "count", labels)
        recent = view.quality.recent
        if recent.count and view.champion is not None:
            named = (*labels, ("version", str(view.champion)))
            yield Observation(TARGET, "accuracy", recent.total / recent.count, at, "share", named)
    for place in facts.places:
        if place.state in _LAG:
            named = (("model", place.model), ("place", place.place))
            yield Observation(TARGET, "deployment_lag", _LAG[place.state], at, "count", named)


def _gains(desk: Desk, view: ModelView) -> dict[tuple[str, int], Estimate]:
    """What the tests of this model's winners measured."""
    won = {one.version for one in view.stages.values() if one.stage is Stage.WON}
    found: dict[tuple[str, int], Estimate] = {}
    for trial in desk.experiments.all(view.model) if won else ():
        if trial.challenger not in won or trial.verdict is not TrialVerdict.PROMOTE:
            continue
        looks = desk.experiments.looks(trial.id)
        if looks and looks[-1].estimate is not None:
            mean = looks[-1].estimate
            low, high = looks[-1].interval or (mean, mean)
            # A sequential interval is not centred; it always holds the estimate here.
            found[view.model, trial.challenger] = Estimate(mean, min(low, mean), max(high, mean))
    return found
