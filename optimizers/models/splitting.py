"""What trials and shadow runs share: beginning an experiment, its route, waiting under a lease."""

from __future__ import annotations

from contextlib import suppress

from config.errors import LedgerUnavailable
from optimizers.models.desk import Desk
from registry.records import Experiment, ExperimentState, RouteMode, TrialLease
from registry.trial_config import ABTestConfig

_MAX_SLICE_S = 5.0


def begin_experiment(
    desk: Desk, config: ABTestConfig, holder: str, mode: RouteMode, weight: float
) -> Experiment:
    """Write an experiment down, or find the one there is under its id.

    Raises:
        ConflictError: the id stands for another configuration, or the model has another test.
    """
    return desk.experiments.create(
        Experiment(
            id=config.test_id,
            model=config.model,
            champion=config.model_a,
            challenger=config.model_b,
            mode=mode,
            salt=config.test_id,
            weight=weight,
            config=config,
            state=ExperimentState.RUNNING,
            verdict=None,
            reason="",
            started_at=desk.clock.now(),
            flow_run_id=holder,
        )
    )


def open_route(desk: Desk, experiment: Experiment, *, revision: int, by: str, reason: str) -> None:
    """Give an experiment its traffic, if the model's route still is of that revision.

    Raises:
        ConflictError: somebody else changed the route since.
    """
    desk.routes.put(
        experiment.model,
        expected_revision=revision,
        mode=experiment.mode,
        champion=experiment.champion,
        challenger=experiment.challenger,
        weight=experiment.weight,
        experiment_id=experiment.id,
        salt=experiment.salt,
        by=by,
        reason=reason,
    )


def wait_holding(desk: Desk, lease: TrialLease, seconds: float) -> None:
    """Let time pass in slices short enough to keep the lease."""
    end = desk.clock.monotonic() + seconds
    while (left := end - desk.clock.monotonic()) > 0:
        desk.wait(min(left, desk.lease_s / 3, _MAX_SLICE_S))
        with suppress(LedgerUnavailable):
            desk.experiments.renew(lease)
