"""What the agent looks at: targets, models, experiments, measured history, the audit.

The registry may be away: what the ledger knows of models is shown all the same, and the answer
says what is missing and why.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from config.errors import UnavailableError
from registry.agent_records import TargetHealth
from registry.experiment_rows import look_to_json
from registry.records import Experiment, ModelVersion, Route, RouteMode, VersionStage
from serving.api.action_answers import moment
from serving.api.answers import Page
from serving.api.pages import page_of
from serving.api.stores import AgentStores
from serving.api.views import NotFound
from serving.api.world_answers import (
    AuditAnswer,
    ExperimentAnswer,
    ExperimentStory,
    ModelAnswer,
    ModelsAnswer,
    ModelVersionsAnswer,
    RouteAnswer,
    TargetAnswer,
    VersionAnswer,
)

_MAX_LOOKS = 1000
_NO_SERVER = "mlflow.tracking_uri is not set; models are known from the ledger only"


@dataclass(frozen=True, slots=True)
class _Registry:
    """What the registry said of aliases, or why it said nothing."""

    aliases: Mapping[str, Mapping[str, int]]
    trouble: str = ""


def models(stores: AgentStores, after: str | None = None, limit: int = 100) -> ModelsAnswer:
    """Return one page of the models, by name.

    Raises:
        InputError: there is no model `after`.
    """
    registry, routes = _aliases(stores), stores.routes.current_all()
    names = sorted({*registry.aliases, *routes, *stores.settings.models.names})
    page, following = page_of(names, str, after, limit)
    return ModelsAnswer(
        items=[
            ModelAnswer(
                model=name,
                aliases=dict(registry.aliases.get(name, {})),
                route=_route(routes.get(name) or Route.none(name)),
            )
            for name in page
        ],
        next=following,
        registry=registry.trouble,
    )


def model(
    stores: AgentStores, name: str, after: str | None = None, limit: int = 100
) -> ModelVersionsAnswer:
    """Return a model and one page of its versions, the newest first.

    Raises:
        NotFound: neither registry nor ledger knows it.
        InputError: there is no version `after`.
    """
    known, trouble = _versions(stores, name)
    aliases = {} if trouble else dict(_aliases(stores).aliases.get(name, {}))
    stages = {stage.version: stage for stage in stores.lifecycle.all(name)}
    route = stores.routes.current(name)
    numbers = sorted({*known, *stages}, reverse=True)
    if not numbers and not aliases and route.mode is RouteMode.NONE and not trouble:
        raise NotFound(f"there is no model {name}; list them to see which there are")
    page, following = page_of(numbers, str, after, limit)
    return ModelVersionsAnswer(
        model=name,
        aliases=aliases,
        route=_route(route),
        items=[_version(n, known.get(n), stages.get(n), aliases) for n in page],
        next=following,
        registry=trouble,
    )


def experiments(
    stores: AgentStores, model: str | None = None, after: str | None = None, limit: int = 100
) -> Page[ExperimentAnswer]:
    """Return one page of A/B tests and shadow runs, the newest first.

    Raises:
        InputError: there is no experiment `after`.
    """
    found = list(reversed(stores.experiments.all(model)))
    page, following = page_of(found, lambda one: one.id, after, limit)
    return Page(items=[ExperimentAnswer(**_experiment(one)) for one in page], next=following)


def experiment(stores: AgentStores, experiment_id: str) -> ExperimentStory:
    """Return an experiment with its newest looks.

    Raises:
        NotFound: there is none of that id.
    """
    found = stores.experiments.get(experiment_id)
    if found is None:
        raise NotFound(f"there is no experiment {experiment_id}; list them to see which there are")
    looks = stores.experiments.looks(experiment_id)[-_MAX_LOOKS:]
    return ExperimentStory(
        **_experiment(found),
        config=found.config.model_dump(mode="json"),
        looks=[json.loads(look_to_json(look)) for look in looks],
    )


def targets(stores: AgentStores, after: str | None = None, limit: int = 100) -> Page[TargetAnswer]:
    """Return one page of the targets and how they answered last, by name.

    Raises:
        InputError: there is no target `after`.
    """
    found = _targets(stores)
    page, following = page_of(found, lambda one: one.name, after, limit)
    return Page(items=list(page), next=following)


def audit(stores: AgentStores) -> AuditAnswer:
    """Compute the ledger's whole chain again and return whether it and its anchor hold."""
    found = stores.audit.verify()
    return AuditAnswer(**asdict(found) | {"anchor": found.anchor.value})


def _targets(stores: AgentStores) -> list[TargetAnswer]:
    health = stores.health.all()
    metrics = Counter(series.target for series in stores.observations.series())
    found = Counter(finding.target for finding in stores.findings.open())
    held: dict[str, dict[str, str]] = {}
    for (target, knob), reason in stores.control.held().items():
        held.setdefault(target, {})[knob] = reason
    return [
        _target(name, health.get(name), metrics[name], found[name], held.get(name, {}))
        for name in sorted({*health, *metrics, *held})
    ]


def _target(
    name: str, health: TargetHealth | None, metrics: int, findings: int, held: dict[str, str]
) -> TargetAnswer:
    return TargetAnswer(
        name=name,
        ok=health.ok if health else None,
        at=moment(health.at) if health else None,
        seconds=health.seconds if health else None,
        reason=health.reason if health else "",
        metrics=metrics,
        findings=findings,
        held_knobs=held,
    )


def _aliases(stores: AgentStores) -> _Registry:
    if stores.catalog is None:
        return _Registry({}, _NO_SERVER)
    try:
        return _Registry(stores.catalog.all_aliases())
    except UnavailableError as error:
        return _Registry({}, str(error))


def _versions(stores: AgentStores, name: str) -> tuple[dict[int, ModelVersion], str]:
    if stores.catalog is None:
        return {}, _NO_SERVER
    try:
        return {one.version: one for one in stores.catalog.versions(name)}, ""
    except UnavailableError as error:
        return {}, str(error)


def _route(route: Route) -> RouteAnswer:
    return RouteAnswer(
        mode=route.mode.value,
        champion=route.champion,
        challenger=route.challenger,
        weight=route.weight,
        experiment_id=route.experiment_id,
        revision=route.revision,
        at=route.at,
        by=route.by,
        reason=route.reason,
    )


def _version(
    number: int,
    known: ModelVersion | None,
    stage: VersionStage | None,
    aliases: Mapping[str, int],
) -> VersionAnswer:
    return VersionAnswer(
        version=number,
        aliases=sorted(alias for alias, version in aliases.items() if version == number),
        stage=stage.stage.value if stage else None,
        reason=stage.reason if stage else "",
        metrics=known.metrics if known else {},
        created_at=known.created_at if known else None,
        retired=known.retired if known else None,
        digest=known.digest if known else None,
    )


def _experiment(one: Experiment) -> dict[str, object]:
    return {
        "experiment_id": one.id,
        "model": one.model,
        "champion": one.champion,
        "challenger": one.challenger,
        "mode": one.mode.value,
        "weight": one.weight,
        "state": one.state.value,
        "verdict": one.verdict.value if one.verdict else None,
        "reason": one.reason,
        "started_at": one.started_at,
        "finished_at": one.finished_at,
        "flow_run_id": one.flow_run_id,
        "run_id": one.run_id,
    }
