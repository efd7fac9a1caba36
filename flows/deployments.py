"""The deployments of all flows: one list, from which `prefect.yaml` is written and servers filled.

Entry points are modules, not files: a file's folder would come first on the module path of the
flow run's process. A flow run is started as `python -m prefect.engine` at once; left to itself the
worker starts a second Python before it, which costs three seconds each time.
"""

from __future__ import annotations

import asyncio
import importlib
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from config.settings import Settings
from flows.context import Context
from flows.names import (
    AB_TEST,
    ACTION,
    ANALYZE,
    BENCHMARK,
    DEPLOYMENT,
    EXECUTE,
    MODEL_DEPLOY,
    MODEL_UPDATE,
    MONITOR,
    OPTIMIZE,
    PROMOTE,
    RETRAIN,
    ROLLBACK,
    SHADOW,
    WATCH_MODELS,
)

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyOptions

TAG = "prime-spark"

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_ENGINE = "-m prefect.engine"


@dataclass(frozen=True, slots=True)
class Deployed:
    """How one flow is deployed.

    Attributes:
        concurrency: runs at the same time; None for no limit.
        beyond: what becomes of runs beyond the limit: they wait, or are cancelled.
        every: seconds between two runs that Prefect starts by itself; None for no schedule.
    """

    flow: str
    concurrency: int | None = None
    beyond: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"
    every: Callable[[Settings], float] | None = None

    @property
    def entrypoint(self) -> str:
        """Module and function, in the dotted form that Prefect takes for a module path."""
        return f"flows.{self.flow}.{self.flow}"

    def load(self) -> Flow[..., object]:
        """Import the flow."""
        flow: Flow[..., object] = getattr(importlib.import_module(f"flows.{self.flow}"), self.flow)
        return flow


# Prefect keeps the slot of a dead holder for minutes, so limits are only where that does no harm;
# what must not run twice is kept apart by locks of the ledger, which go with their process.
DEPLOYMENTS = (
    Deployed(BENCHMARK),
    Deployed(AB_TEST),
    Deployed(PROMOTE),
    Deployed(ROLLBACK),
    Deployed(RETRAIN, concurrency=1),
    Deployed(SHADOW),
    Deployed(WATCH_MODELS, every=lambda settings: settings.models.watch_interval_seconds),
    Deployed(MODEL_UPDATE),
    # Building for a device takes a core for a while.
    Deployed(MODEL_DEPLOY, concurrency=1),
    # The agent ticks by itself: these are for a look by hand. Its optimise cycles are flow runs of
    # this schedule; whoever pauses it, pauses them. Cycles that were missed are not made up for.
    Deployed(MONITOR),
    Deployed(ANALYZE),
    Deployed(
        OPTIMIZE,
        concurrency=1,
        beyond="CANCEL_NEW",
        every=lambda settings: settings.monitoring.optimization_interval_seconds,
    ),
    Deployed(EXECUTE),
    Deployed(ACTION),
)


def deploy(settings: Settings, *, python: str | None = None) -> tuple[str, ...]:
    """Create or update the work pool and all deployments on the Prefect server of the settings.

    Doing it again changes nothing but what differs.

    Args:
        settings: server, work pool and schedule.
        python: the interpreter that runs flows on the worker's machine. By default this one if
            the server is on this machine, else the first `python` on the worker's path.

    Returns:
        The deployments' full names.

    Raises:
        ConfigError: no server is set.
        UnavailableError: the server does not answer.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    api_url = Context(settings).prefect_api_url
    command = f"{python or _python_for(api_url)} {_ENGINE}"
    with temporary_settings({PREFECT_API_URL: api_url}):
        return asyncio.run(_deploy_all(api_url, settings, command))


def interval_of(deployed: Deployed, settings: Settings) -> timedelta | None:
    """The time between two scheduled runs, if it runs by itself."""
    return None if deployed.every is None else timedelta(seconds=deployed.every(settings))


async def _deploy_all(api_url: str, settings: Settings, command: str) -> tuple[str, ...]:
    import httpx
    from prefect.client.orchestration import get_client

    from config.errors import UnavailableError

    try:
        async with get_client() as client:
            await _make_pool(client, settings.prefect.work_pool)
            return tuple(
                [await _deploy_one(client, deployed, settings, command) for deployed in DEPLOYMENTS]
            )
    except (httpx.HTTPError, RuntimeError) as error:
        raise UnavailableError(
            f"cannot deploy to the Prefect server {api_url} ({error}); check that it is up"
        ) from error


async def _make_pool(client: PrefectClient, name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name=name, type="process", base_job_template=template)
        with suppress(ObjectAlreadyExists):  # made by another at the same moment
            await client.create_work_pool(pool)


async def _deploy_one(
    client: PrefectClient, deployed: Deployed, settings: Settings, command: str
) -> str:
    from prefect.utilities.callables import parameter_schema

    flow = deployed.load()
    await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=DEPLOYMENT,
        entrypoint=deployed.entrypoint,
        work_pool_name=settings.prefect.work_pool,
        job_variables={"command": command},
        pull_steps=[],
        schedules=_schedules(deployed, settings),
        concurrency_limit=deployed.concurrency,
        concurrency_options=_concurrency(deployed),
        tags=[TAG],
        description=flow.description,
        parameter_openapi_schema=parameter_schema(flow).model_dump(exclude_unset=True),
        enforce_parameter_schema=True,
    )
    return f"{flow.name}/{DEPLOYMENT}"


def _schedules(deployed: Deployed, settings: Settings) -> list[DeploymentScheduleCreate]:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    interval = interval_of(deployed, settings)
    if interval is None:
        return []
    return [DeploymentScheduleCreate(schedule=IntervalSchedule(interval=interval), active=True)]


def _concurrency(deployed: Deployed) -> ConcurrencyOptions | None:
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions

    if deployed.concurrency is None:
        return None
    return ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(deployed.beyond))


def _python_for(api_url: str) -> str:
    if urlsplit(api_url).hostname in _LOOPBACK:
        return shlex.quote(sys.executable)
    return "python"
