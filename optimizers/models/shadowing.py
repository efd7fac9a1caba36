"""Runs a challenger in the shadow: it answers copies of live requests, and nobody sees its answers.

Both versions answer the same requests, so a comparison needs far fewer of them than a split, and
no user is at risk. It decides nothing: what users do with an answer cannot be seen here.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.significance.fixed import Comparison
from benchmarks.significance.moments import Moments
from benchmarks.significance.paired import paired_mean
from config.errors import ConflictError
from optimizers.models.desk import Desk
from optimizers.models.leases import holding
from optimizers.models.splitting import begin_experiment, open_route, wait_holding
from optimizers.models.trial_end import close_split
from registry.records import (
    CHAMPION_ALIAS,
    Experiment,
    PairedTotals,
    RouteMode,
    TrialVerdict,
)
from registry.trial_config import ABTestConfig


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What the shadow showed; `comparison` is None without two pairs that differ."""

    experiment: Experiment
    totals: PairedTotals
    comparison: Comparison | None
    reason: str


def run_shadow(desk: Desk, config: ABTestConfig, holder: str) -> ShadowReport:
    """Copy the traffic to the challenger for the test's duration, then compare.

    Raises:
        ConflictError: the champion is another version, or the model has another test.
    """
    model = config.model
    if desk.registry.aliases(model).get(CHAMPION_ALIAS) != config.model_a:
        raise ConflictError(f"@champion of {model} is not version {config.model_a} any more")
    if desk.registry.version(model, config.model_b).retired:
        raise ConflictError(f"version {config.model_b} of {model} is retired; register it again")
    experiment = begin_experiment(desk, config, holder, RouteMode.SHADOW, 1.0)
    with holding(desk, experiment.id, holder) as lease:
        try:
            _open(desk, experiment)
            wait_holding(desk, lease, config.duration_seconds)
        finally:
            close_split(desk, experiment.id, "the shadow is over")
        report = _report(desk, experiment)
        desk.experiments.finish(lease, TrialVerdict.INCONCLUSIVE, report.reason)
    return report


def _open(desk: Desk, experiment: Experiment) -> None:
    revision = desk.routes.current(experiment.model).revision
    reason = f"version {experiment.challenger} in the shadow of version {experiment.champion}"
    open_route(desk, experiment, revision=revision, by="shadow", reason=reason)


def _report(desk: Desk, experiment: Experiment) -> ShadowReport:
    metric = experiment.config.success_metric
    totals = desk.feedback.paired(experiment.id, metric)
    differences = Moments(totals.n, totals.diff_sum, totals.diff_sumsq)
    comparison = paired_mean(differences) if totals.n >= 2 else None
    return ShadowReport(experiment, totals, comparison, _words(metric, totals, comparison))


def _words(metric: str, totals: PairedTotals, comparison: Comparison | None) -> str:
    if not totals.scored:
        return "the shadow answered no request: no traffic came, or serving does not copy it"
    told = (
        f"{totals.scored} requests answered in the shadow, {totals.challenger_errors} with an "
        f"error; {totals.agreed} of {totals.compared} answers agree"
    )
    if comparison is None:
        return f"{told}; {metric}: too few pairs to compare"
    low, high = comparison.interval
    return (
        f"{told}; {metric} differs by {comparison.difference:+.4g} ({low:+.4g} to {high:+.4g}, "
        f"p = {comparison.p_value:.2g}, {totals.n} pairs)"
    )
