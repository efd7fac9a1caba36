"""Flow `benchmark`: measures a version against the champion and accepts or rejects it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from config.errors import InputError
from flows.artefacts import done, run_id, show_link, show_table
from flows.context import Context, open_context
from flows.forms import ModelName, Version

if TYPE_CHECKING:
    from benchmarks.gate import GateResult
    from optimizers.models.benchmarking import Candidates
    from optimizers.models.desk import Desk
    from registry.mlflow_runs import RunRef
    from registry.records import ModelVersion

_LONGEST_WAIT_S = 1800.0


@flow(name="benchmark", flow_run_name="benchmark-{model}-v{version}", persist_result=False)
def benchmark(model: ModelName, version: Version) -> State[None]:
    """Measure a version's latency, throughput, accuracy, memory and power beside the champion's.

    Accepted, it goes on trial (or becomes the first champion); rejected or inconclusive, it stays
    out, with the reason.
    """
    from flows.starting import start_next
    from optimizers.models.at_work import working_on
    from optimizers.models.benchmarking import begin_benchmark, refuse_version, settle_benchmark

    context = open_context()
    desk = context.desk()
    with working_on(desk, model, version):
        begin_benchmark(desk, model, version, run_id())
        try:
            candidates = fetch(context, desk, model, version)
        except InputError as error:
            stage = refuse_version(desk, model, version, error, run_id())
            return done("Rejected", stage.reason)
        result = measure(context, candidates)
        run = publish(context, result, model, version)
        stage = settle_benchmark(
            desk, model, version, result, flow_run_id=run_id(), run_id=run.run_id
        )
    get_run_logger().info(start_next(context, desk, model, version))
    show(result, run, model, version)
    return done(stage.stage.value.capitalize(), stage.reason)


@task(name="fetch", retries=3, retry_delay_seconds=2, cache_policy=NO_CACHE, persist_result=False)
def fetch(context: Context, desk: Desk, model: str, version: int) -> Candidates:
    """Bring both versions and the evaluation data here; repeated while the registry is away."""
    from optimizers.models.benchmarking import fetch_candidates

    def adopt(name: str, number: int) -> ModelVersion:
        return context.registry.adopt(name, number)

    return fetch_candidates(desk, adopt, model, version)


@task(name="measure", cache_policy=NO_CACHE, persist_result=False)
def measure(context: Context, candidates: Candidates) -> GateResult:
    """Run the gate; not retried, for the gate itself repeats what its error rate allows."""
    from benchmarks.gate import GateRules, run_gate
    from registry.ledger.database import exclusive

    settings = context.settings
    rules = GateRules(
        settings.gate, settings.models.accuracy_threshold, threads=settings.serving.intra_op_threads
    )
    # One at a time, or they would measure each other.
    with exclusive(context.engine, "measuring", _LONGEST_WAIT_S):
        return run_gate(
            candidates.candidate,
            candidates.champion,
            candidates.evaluation,
            rules=rules,
            rng=context.rng(),
            clock=context.clock,
        )


@task(name="publish", retries=5, retry_delay_seconds=5, cache_policy=NO_CACHE, persist_result=False)
def publish(context: Context, result: GateResult, model: str, version: int) -> RunRef:
    """Log the MLflow run; the same run again changes nothing."""
    from optimizers.models.gate_report import gate_run

    return context.runs.log(gate_run(result, model, version, run_id()))


def show(result: GateResult, run: RunRef, model: str, version: int) -> None:
    """Show the comparisons and the MLflow run on the flow run's page."""
    rows = [
        {
            "measure": one.name,
            "unit": one.unit,
            "candidate": one.candidate,
            "champion": one.champion,
            "margin": one.margin,
            "outcome": one.outcome.value,
        }
        for one in result.comparisons
    ]
    show_table(f"benchmark-{model}-v{version}", rows, result.reason)
    show_link(f"benchmark-run-{model}-v{version}", run, result.reason)
