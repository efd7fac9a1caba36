"""What a worker serves at this moment; read and replaced on the event loop only."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from config.settings import ServingSettings
from registry.records import ExposureWindow, RouteMode, Variant
from serving.batcher import Crowd
from serving.keeping import Keeping
from serving.knobs import knobs_for
from serving.loaded import LoadedModel, WarmModel
from serving.plans import Arm, Plan, Wanted, other_variant
from serving.recording import Recordings
from serving.tally import Tally

_log = logging.getLogger("prime_spark.serving")

VersionKey = tuple[str, int]
# Arms of the past stay in /metrics until there are this many.
_MOST_TALLIES = 256


@dataclass(frozen=True, slots=True)
class Update:
    """What a poll found: the wanted plans, newly loaded models, knobs, and what is wrong."""

    wanted: Mapping[str, Wanted]
    warm: Mapping[VersionKey, WarmModel]
    knobs: Mapping[str, Mapping[str, float]]
    problems: Mapping[str, str]
    stale: Mapping[str, str]


@dataclass(slots=True)
class Totals:
    """Counts of a worker that belong to no arm."""

    swaps: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    feedback_accepted: int = 0
    feedback_duplicate: int = 0
    feedback_refused: int = 0
    shadow_scored: int = 0
    shadow_dropped: int = 0
    windows_lost: int = 0
    flush_failures: int = 0


class ServingState:
    """The plans of one worker and the counts of all arms it has served."""

    def __init__(
        self,
        settings: ServingSettings,
        executor: Executor,
        keeping: Keeping,
        recordings: Recordings,
    ) -> None:
        self._settings = settings
        self._executor = executor
        self._recordings = recordings
        self.keeping = keeping
        self._crowd = Crowd()
        self._tallies: dict[tuple[str, int, Variant, str | None], Tally] = {}
        self.plans: dict[str, Plan] = {}
        self.problems: dict[str, str] = {}
        self.stale: dict[str, str] = {}
        self.ready = False
        self.draining = False
        self.totals = Totals()
        self.memory_bytes: int | None = None

    def publish(self, update: Update) -> None:
        """Replace all plans at once. Requests under way keep the models they began with."""
        loaded = {
            (model, arm.loaded.version): arm.loaded
            for model, plan in self.plans.items()
            for arm in plan.arms
        }
        for key, warm in update.warm.items():
            if key not in loaded:
                self.keeping.loads += 1
                loaded[key] = LoadedModel(warm, self._settings, self._executor, self._crowd)
        plans = {model: self._plan(model, want, loaded) for model, want in update.wanted.items()}
        for model, plan in plans.items():
            self._report_change(model, plan)
        self.plans = plans
        self._recordings.keep(plans)
        self._turn_knobs(update.knobs)
        self.keeping.follow(plans.values())
        self.problems = self.keeping.problems() | dict(update.problems)
        self.stale = dict(update.stale)
        self.ready = True

    def _plan(self, model: str, want: Wanted, loaded: Mapping[VersionKey, LoadedModel]) -> Plan:
        old = self.plans.get(model)
        if old is not None and old.wanted == want:
            return old
        champion = self._arm(model, want, loaded[model, want.champion], Variant.CHAMPION)
        if old is not None:
            # Who asked the version before will ask this one: it must not be found asleep.
            used_at = max(arm.loaded.used_at for arm in old.arms)
            champion.loaded.used_at = max(champion.loaded.used_at, used_at)
        other = None
        if want.mode is not RouteMode.NONE and want.challenger is not None:
            part = other_variant(want.mode)
            other = self._arm(model, want, loaded[model, want.challenger], part)
        return Plan(want, champion, other, self._recordings.of(model))

    def _arm(self, model: str, want: Wanted, loaded: LoadedModel, variant: Variant) -> Arm:
        key = (model, loaded.version, variant, want.experiment_id)
        tally = self._tallies.get(key)
        if tally is None:
            # One object for one identity: the ledger's numbers are absolute for it.
            tally = Tally(*key, self._settings.latency_objective_ms)
            self._tallies[key] = tally
        return Arm(loaded, tally)

    def _report_change(self, model: str, plan: Plan) -> None:
        old = self.plans.get(model)
        if old is plan:
            return
        self.totals.swaps += 1
        want = plan.wanted
        split = f", {want.mode.value} with {want.challenger}" if want.challenger else ""
        _log.info("serving %s version %d%s", model, want.champion, split)

    def _turn_knobs(self, written: Mapping[str, Mapping[str, float]]) -> None:
        for model, plan in self.plans.items():
            for arm in plan.arms:
                loaded = arm.loaded
                loaded.knobs.turn(knobs_for(self._settings, model, loaded.version, written))

    @property
    def tallies(self) -> list[Tally]:
        """The counts of all arms served since the start."""
        return list(self._tallies.values())

    def collect(self, worker: str, now: float) -> list[ExposureWindow]:
        """Return the exposure windows to write (see `Tally.collect`)."""
        windows = [window for tally in self.tallies for window in tally.collect(worker, now)]
        if len(self._tallies) > _MOST_TALLIES:
            self._forget(now)
        return windows

    def _forget(self, now: float) -> None:
        """Drop arms that are served no more, once their last minute is over and written."""
        served = {id(arm.tally) for plan in self.plans.values() for arm in plan.arms}
        for key, tally in list(self._tallies.items()):
            if id(tally) not in served and tally.settled(now):
                del self._tallies[key]
