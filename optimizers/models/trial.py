"""The controller of an A/B test on live traffic: opens the split, looks, and comes to a decision.

Everything that matters is in the ledger before it is done outside, so the controller may be killed
at any point and started again under the same test id: it goes on with the counts it finds, or with
the decision it had come to. Of two controllers only the one with the newest lease gets anything
done.

Time under test is counted on the monotonic clock and carried on from look to look; the time during
which no controller was running does not count. A stepped wall clock neither ends nor prolongs a
test, but serving keeps its counts by the minute, so nothing is promoted on counts from such a test.

What it does not promise: that the split is closed (`trial_end` carries decisions out), or that a
challenger that won is promoted (`promotion` does that, once the end of the test is in the ledger).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.trial import CONTINUE, arm_counts, judge_trial
from config.clock import epoch
from config.errors import ConflictError, LedgerUnavailable, RegistryUnavailable
from optimizers.models.desk import Decision, Desk, move_stage, name_challenger
from optimizers.models.leases import holding
from optimizers.models.splitting import begin_experiment, open_route, wait_holding
from registry.records import (
    CHAMPION_ALIAS,
    Experiment,
    Look,
    RouteMode,
    Stage,
    TrialLease,
    TrialVerdict,
)
from registry.trial_config import ABTestConfig

DECIDED = "trial_decided"

# Clocks are slewed by less, and a busy machine delays a look by less.
_STEP_S = 30.0
_NOT_READY = {
    None: "it has not been benchmarked",
    Stage.FOUND: "it has not been benchmarked",
    Stage.BENCHMARKING: "its benchmark is running",
    Stage.REJECTED: "the benchmark rejected it",
    Stage.FAILED: "its benchmark came to no result",
    Stage.PROMOTING: "it is being promoted",
    Stage.CHAMPION: "it is the champion",
}


def run_trial(desk: Desk, config: ABTestConfig, holder: str) -> Decision:
    """Run a test, or go on with it, to its decision; the split is still open after it.

    Args:
        desk: stores, registry, clock.
        config: the test; the id of a stored test goes on with that one.
        holder: who runs it; the flow run's id, so that a repeat of that run takes over at once.

    Raises:
        ConflictError: the versions cannot be put on trial now, the model has another test, or
            this test is held by a living controller.
        StaleToken: another controller took over and carries on; this one has to stop.
        UnavailableError: registry or ledger did not answer for too long.
    """
    experiment = _begin(desk, config, holder)
    known = decision_of(desk, experiment)
    if known is not None:
        return known
    with holding(desk, config.test_id, holder) as lease:
        controller = _Controller(desk, experiment, lease)
        decision = controller.open() or controller.watch()
        decide(desk, lease, decision)
    return decision


def decision_of(desk: Desk, experiment: Experiment) -> Decision | None:
    """The decision a test has come to, carried out or not; None while it is undecided."""
    if experiment.verdict is not None:
        return Decision(experiment.verdict, experiment.reason)
    entries = desk.events.list(subject=experiment.id, kind=DECIDED)
    if not entries:
        return None
    body = entries[-1].body
    return Decision(TrialVerdict(str(body["verdict"])), str(body["reason"]))


def decide(desk: Desk, lease: TrialLease, decision: Decision) -> None:
    """Write the decision down; from here on every successor only carries it out.

    Raises:
        StaleToken: the test belongs to another controller now.
    """
    desk.experiments.renew(lease)
    body = {"verdict": decision.verdict.value, "reason": decision.reason}
    desk.events.append(None, DECIDED, lease.id, body)
    desk.checkpoint("decided")


def _begin(desk: Desk, config: ABTestConfig, holder: str) -> Experiment:
    if desk.experiments.get(config.test_id) is None:
        _check_versions(desk, config)
    return begin_experiment(desk, config, holder, RouteMode.AB, config.traffic_split)


def _check_versions(desk: Desk, config: ABTestConfig) -> None:
    champion = desk.registry.aliases(config.model).get(CHAMPION_ALIAS)
    if champion != config.model_a:
        raise ConflictError(
            f"@champion of {config.model} is version {champion}, not {config.model_a}; a trial "
            "compares with what is served, so name that version as model_a"
        )
    if desk.registry.version(config.model, config.model_b).retired:
        raise ConflictError(
            f"version {config.model_b} of {config.model} is retired; register it again to try it"
        )
    stage = desk.lifecycle.get(config.model, config.model_b)
    why_not = _NOT_READY.get(stage.stage if stage else None)
    if why_not:
        raise ConflictError(
            f"version {config.model_b} of {config.model} cannot go on trial: {why_not}; "
            "let it pass the benchmark first"
        )


@dataclass(slots=True)
class _Controller:
    """The holder of the lease at work."""

    desk: Desk
    experiment: Experiment
    lease: TrialLease
    looks: list[Look] = field(init=False)
    began: float = field(init=False)
    offset: float = field(init=False)
    step: float = field(init=False)

    def __post_init__(self) -> None:
        self.looks = self.desk.experiments.looks(self.lease.id)
        self.began = self.desk.clock.monotonic()
        self.offset = self._offset()
        self.step = _set_back(self.looks)

    @property
    def config(self) -> ABTestConfig:
        """The test's configuration, as it was begun with."""
        return self.experiment.config

    def _offset(self) -> float:
        """Wall time less monotonic time: it changes when, and as much as, the clock is stepped."""
        return epoch(self.desk.clock.now()) - self.desk.clock.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds under test: up to the last look by whoever made it, and since we began."""
        before = self.looks[-1].elapsed_s if self.looks else 0.0
        return before + self.desk.clock.monotonic() - self.began

    def open(self) -> Decision | None:
        """Open the split where it is not open yet; a decision if the test makes no sense now."""
        known = self._concluded_before()
        if known is not None:
            return known
        desk, config = self.desk, self.config
        desk.experiments.link(config.test_id, flow_run_id=self.lease.holder)
        reason = f"trial {config.test_id} against version {config.model_a}"
        model, challenger = config.model, config.model_b
        move_stage(
            desk.lifecycle, model, challenger, Stage.TRIAL, reason, flow_run_id=self.lease.holder
        )
        desk.checkpoint("on trial")
        name_challenger(desk, model, challenger, reason)
        desk.checkpoint("challenger named")
        return self._open_split(reason)

    def _concluded_before(self) -> Decision | None:
        """What the last look said or a person did, when a controller died before deciding on it.

        A look that stops the test needs no registry: the split has to close even without it.
        """
        last = self.looks[-1] if self.looks else None
        if last is not None and last.verdict not in {CONTINUE, TrialVerdict.PROMOTE}:
            return Decision(TrialVerdict(last.verdict), last.reason)
        moved = self._champion_moved()
        if moved is None and last is not None and last.verdict == TrialVerdict.PROMOTE:
            return self._win(last)
        return moved

    def _open_split(self, reason: str) -> Decision | None:
        desk, config = self.desk, self.config
        route = desk.routes.current(config.model)
        if route.experiment_id == config.test_id and route.mode is RouteMode.AB:
            return None
        if self.looks:
            return _split_changed(route.by, route.reason)
        open_route(desk, self.experiment, revision=route.revision, by="ab_test", reason=reason)
        desk.checkpoint("split open")
        return None

    def watch(self) -> Decision:
        """Look until there is a decision."""
        while True:
            self._wait_for_look()
            decision = self._look()
            if decision is not None:
                return decision

    def _wait_for_look(self) -> None:
        """Let the time to the next look pass."""
        left = self.config.duration_seconds - self.elapsed
        wait_holding(self.desk, self.lease, min(self.config.look_seconds, max(left, 0.05)))

    def _look(self) -> Decision | None:
        try:
            return self._judge()
        except LedgerUnavailable:
            # Counts cannot be read or kept just now. Serving keeps its last split and its counts,
            # so the test goes on when the ledger is back, unless that is long after its end.
            if self.elapsed > self.config.duration_seconds + self.desk.patience_s:
                raise
            return None

    def _judge(self) -> Decision | None:
        trouble = ""
        try:
            invalid = self._champion_moved() or self._split_taken()
        except RegistryUnavailable as error:
            invalid, trouble = self._split_taken(), str(error)
        if invalid is not None:
            return invalid
        self.step = self.step or self._stepped()
        look = self._next_look()
        if trouble and look.verdict == TrialVerdict.PROMOTE:
            return self._postponed(trouble)
        self.desk.experiments.record_look(self.lease, look)
        self.looks.append(look)
        self.began = self.desk.clock.monotonic()
        self.desk.checkpoint("looked")
        if look.verdict == CONTINUE:
            return None
        if look.verdict == TrialVerdict.PROMOTE:
            return self._win(look)
        return Decision(TrialVerdict(look.verdict), look.reason)

    def _win(self, look: Look) -> Decision:
        """The decision on a won test: no promotion if its counts may be wrong."""
        if not self.step:
            return Decision(TrialVerdict.PROMOTE, look.reason)
        return Decision(
            TrialVerdict.INCONCLUSIVE,
            f"the wall clock was stepped by {self.step:+.0f} s during the test, so that counts "
            "kept by the minute may be wrong; nothing is promoted on them, start a new test",
        )

    def _next_look(self) -> Look:
        desk, config = self.desk, self.config
        counts = arm_counts(
            config,
            desk.exposures.totals(config.test_id),
            desk.feedback.totals(config.test_id, config.success_metric),
        )
        at = epoch(desk.clock.now())
        return judge_trial(config, counts, self.looks, at=at, elapsed_s=self.elapsed)

    def _stepped(self) -> float:
        """Seconds by which the wall clock was stepped since this controller began, or 0."""
        moved = self._offset() - self.offset
        return moved if abs(moved) > _STEP_S else 0.0

    def _postponed(self, trouble: str) -> Decision | None:
        """A win that cannot be trusted yet: the champion may have been moved meanwhile."""
        if self.elapsed < self.config.duration_seconds:
            return None
        return Decision(
            TrialVerdict.INCONCLUSIVE,
            "when the test ended it could not be read which version is the champion "
            f"({trouble}), and without that nothing is promoted",
        )

    def _champion_moved(self) -> Decision | None:
        champion = self.desk.registry.aliases(self.config.model).get(CHAMPION_ALIAS)
        if champion == self.config.model_a:
            return None
        now = f"moved to version {champion}" if champion is not None else "taken away"
        return Decision(
            TrialVerdict.INVALIDATED,
            f"@champion was {now} during the test, which compares with version "
            f"{self.config.model_a}",
        )

    def _split_taken(self) -> Decision | None:
        route = self.desk.routes.current(self.config.model)
        ours = route.experiment_id == self.config.test_id
        return None if ours else _split_changed(route.by, route.reason)


def _split_changed(by: str, reason: str) -> Decision:
    return Decision(
        TrialVerdict.INVALIDATED, f"the split was changed during the test by {by}: {reason}"
    )


def _set_back(looks: Sequence[Look]) -> float:
    """Seconds by which the clock was set back between two looks, also of earlier controllers.

    Setting it forward cannot be told from a time without a controller, and mixes up no counts.
    """
    gaps = [
        (after.at - before.at) - (after.elapsed_s - before.elapsed_s)
        for before, after in pairwise(looks)
    ]
    worst = min(gaps, default=0.0)
    return worst if worst < -_STEP_S else 0.0
