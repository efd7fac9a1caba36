"""Carries the decision of a test out: closes the split, publishes the record, ends the test.

Each step may be repeated, and stands after the ledger's entry that makes a successor repeat it; so
an ending that was killed half-way is finished by the next controller with the same outcome. The
split is closed first: that needs the ledger alone, so users are safe while MLflow is away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from config.errors import ConflictError, UnavailableError
from optimizers.models.desk import Decision, Desk, name_challenger
from optimizers.models.leases import holding, kept_alive
from optimizers.models.settling import settle_stage
from optimizers.models.trial import decide, decision_of
from registry.records import (
    CHALLENGER_ALIAS,
    Experiment,
    RouteMode,
    TrialLease,
    TrialVerdict,
)

if TYPE_CHECKING:
    from registry.mlflow_runs import RunRef

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """A test that is over; `run` is its MLflow run, None when it was published earlier."""

    experiment: Experiment
    decision: Decision
    run: RunRef | None


def conclude_trial(desk: Desk, test_id: str, holder: str) -> TrialEnd:
    """Carry out what was decided on a test.

    Raises:
        ConflictError: nothing is decided yet, or another controller is at it.
        UnavailableError: registry or ledger stayed away; the split is closed if the ledger was
            there, and the next controller finishes the rest.
    """
    experiment = _known(desk, test_id)
    decision = decision_of(desk, experiment)
    if decision is None:
        raise ConflictError(f"test {test_id} is not decided yet; let it run to a decision")
    run = None
    if experiment.verdict is None:
        with holding(desk, test_id, holder) as lease:
            run = _carry_out(desk, experiment, decision, lease)
    experiment = _known(desk, test_id)
    settle_stage(desk, experiment)
    return TrialEnd(experiment, decision, run)


def cancel_trial(desk: Desk, test_id: str, holder: str, reason: str) -> TrialEnd | None:
    """End a running test as cancelled; None when it is over already.

    Raises:
        ConflictError: a controller of another name is alive and has to be stopped first.
    """
    close_split(desk, test_id, reason)
    if _known(desk, test_id).verdict is not None:
        return None
    with holding(desk, test_id, holder) as lease:
        decide(desk, lease, Decision(TrialVerdict.CANCELLED, reason))
    return conclude_trial(desk, test_id, holder)


def close_split(desk: Desk, test_id: str, reason: str) -> None:
    """Give all traffic of a test's model back to the champion, if the split is this test's."""
    model = _known(desk, test_id).model
    route = desk.routes.current(model)
    if route.experiment_id != test_id or route.mode is RouteMode.NONE:
        return
    desk.routes.put(
        model,
        expected_revision=route.revision,
        mode=RouteMode.NONE,
        champion=route.champion,
        by="ab_test",
        reason=reason,
    )


def _carry_out(desk: Desk, experiment: Experiment, decision: Decision, lease: TrialLease) -> RunRef:
    close_split(desk, experiment.id, f"{decision.verdict}: {decision.reason}")
    desk.checkpoint("split closed")
    patience = _Patience(desk, lease)
    patience.until_done(lambda: _clear_challenger(desk, experiment, decision))
    desk.checkpoint("challenger cleared")
    with kept_alive(desk, lease):
        run = patience.until_done(lambda: desk.publish_trial(desk, experiment, decision))
    desk.checkpoint("published")
    desk.experiments.link(experiment.id, run_id=run.run_id)
    patience.until_done(lambda: desk.experiments.finish(lease, decision.verdict, decision.reason))
    desk.checkpoint("finished")
    return run


def _clear_challenger(desk: Desk, experiment: Experiment, decision: Decision) -> None:
    """Take @challenger away, unless it names another version meanwhile."""
    now = desk.registry.aliases(experiment.model).get(CHALLENGER_ALIAS)
    if now == experiment.challenger:
        reason = f"trial {experiment.id} is over: {decision.reason}"
        name_challenger(desk, experiment.model, None, reason)


def _known(desk: Desk, test_id: str) -> Experiment:
    experiment = desk.experiments.get(test_id)
    if experiment is None:
        raise ConflictError(f"there is no test {test_id}; list the experiments to see which exist")
    return experiment


@dataclass(slots=True)
class _Patience:
    """Tries a step again while a server is away, for `desk.patience_s` in all."""

    desk: Desk
    lease: TrialLease

    def until_done(self, step: Callable[[], T]) -> T:
        deadline = self.desk.clock.monotonic() + self.desk.patience_s
        while True:
            try:
                return step()
            except UnavailableError as error:
                pause = min(error.retry_after_s, self.desk.lease_s / 3)
                if self.desk.clock.monotonic() + pause > deadline:
                    raise
                self.desk.wait(pause)
                self.desk.experiments.renew(self.lease)
