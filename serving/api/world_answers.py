"""The shapes of the API's answers about targets, models, experiments, metrics and the audit."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue

from serving.api.answers import Answer


class TargetAnswer(Answer):
    """A target and how it answered last.

    Attributes:
        ok: it answered when it was last looked at; null when it was never looked at.
        seconds: how long that look took.
        held_knobs: knobs the agent has stepped aside for, each with the reason.
    """

    name: str
    ok: bool | None
    at: datetime | None
    seconds: float | None
    reason: str
    metrics: int
    findings: int
    held_knobs: dict[str, str]


class LearnedAnswer(Answer):
    """What was learned of an action type on a target (`target` empty: on all of them).

    Attributes:
        successes, failures: verified outcomes, each counted once.
        success_rate: their share; null before the first.
        mean_improvement: mean measured relative improvement; null before the first.
    """

    type: str
    target: str
    successes: float
    failures: float
    success_rate: float | None
    mean_improvement: float | None
    updated_at: datetime


class RouteAnswer(Answer):
    """How the traffic of a model is wanted to be split; `weight` is the challenger's share."""

    mode: str
    champion: int | None
    challenger: int | None
    weight: float
    experiment_id: str | None
    revision: int
    at: datetime | None
    by: str
    reason: str


class ModelAnswer(Answer):
    """A model: its aliases in the registry and its traffic."""

    model: str
    aliases: dict[str, int]
    route: RouteAnswer


class ModelsAnswer(Answer):
    """One page of the models.

    Attributes:
        registry: why the registry's part is missing; empty when it answers. The rest is known from
            the ledger.
    """

    items: list[ModelAnswer]
    next: str | None = None
    registry: str = ""


class VersionAnswer(Answer):
    """A version of a model and where it stands; `stage` null when it was never looked at."""

    version: int
    aliases: list[str]
    stage: str | None
    reason: str
    metrics: dict[str, float]
    created_at: datetime | None
    retired: bool | None
    digest: str | None


class ModelVersionsAnswer(ModelAnswer):
    """A model and one page of its versions, the newest first."""

    items: list[VersionAnswer]
    next: str | None = None
    registry: str = ""


class ExperimentAnswer(Answer):
    """An A/B test or a shadow run."""

    experiment_id: str
    model: str
    champion: int
    challenger: int
    mode: str
    weight: float
    state: str
    verdict: str | None
    reason: str
    started_at: datetime
    finished_at: datetime | None
    flow_run_id: str | None
    run_id: str | None


class ExperimentStory(ExperimentAnswer):
    """An experiment with its configuration and the newest looks, the oldest of them first."""

    config: dict[str, JsonValue]
    looks: list[dict[str, JsonValue]]


class SeriesAnswer(Answer):
    """A metric of a target with its labels."""

    target: str
    metric: str
    labels: dict[str, str]
    unit: str


class PointAnswer(Answer):
    """What was seen in one bucket of time, which begins at `at`."""

    at: datetime
    count: int
    mean: float
    low: float
    high: float
    last: float


class HistoryAnswer(SeriesAnswer):
    """The points of one series, the oldest first."""

    points: list[PointAnswer]


class HistoryPage(Answer):
    """One page of the series of a metric.

    Attributes:
        since, until: the time that was looked at.
        step: length of the buckets in seconds; 0 for as finely as it is kept.
    """

    since: datetime
    until: datetime
    step: int
    items: list[HistoryAnswer]
    next: str | None = None


class AuditAnswer(Answer):
    """Whether the ledger's chain of entries holds, and whether it agrees with its anchor.

    Attributes:
        checked: entries that were checked.
        broken_id: the first entry that is not what it was.
        anchor: `holds`, `broken`, `none` or `unreachable`.
        anchored_id: the last entry the anchor covers.
    """

    ok: bool
    checked: int
    broken_id: int | None
    reason: str
    anchor: str
    anchor_detail: str
    anchored_id: int | None


class SkippedAnswer(Answer):
    """What the last cycle left out, and why."""

    type: str
    target: str
    description: str
    kind: str
    reason: str


class CycleAnswer(Answer):
    """How the last cycle of decisions went: why something is done, or nothing.

    Attributes:
        at: when; null when there was none yet.
        findings: how many there were.
        proposed: the actions it recorded.
        troubles: capabilities that failed, in sentences.
    """

    at: datetime | None
    findings: int
    proposed: list[str]
    skipped: list[SkippedAnswer]
    troubles: list[str]
