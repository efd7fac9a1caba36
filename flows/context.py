"""Puts settings, clock, ledger and registry together: the composition root of flows and commands.

Everything is opened when it is first asked for, and MLflow's own client only by what publishes or
registers: a flow run's process pays for what it uses.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from config.clock import Clock, SystemClock
from config.errors import ConfigError
from config.ids import Ids, SystemIds
from config.loader import load_settings
from config.redaction import RedactionFilter
from config.settings import Settings

if TYPE_CHECKING:
    from numpy.random import Generator
    from sqlalchemy import Engine

    from flows.prefect_rest import PrefectRest
    from optimizers.models.desk import Decision, Desk
    from optimizers.models.promotion import Serving
    from registry.aliases import AliasHistory, AliasMover
    from registry.mlflow_models import ModelRegistry
    from registry.mlflow_runs import RunLog, RunRef
    from registry.reader import RegistryReader
    from registry.records import Experiment


# Prefect sends what these log to its server.
_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_REDACTION = RedactionFilter()


class Context:
    """What one process works with.

    Attributes:
        settings: all settings, checked.
        clock: wall and monotonic time.
        ids: makes identifiers.
    """

    def __init__(
        self, settings: Settings, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.ids = ids or SystemIds(self.clock)

    @property
    def tracking_uri(self) -> str:
        """The MLflow server's address.

        Raises:
            ConfigError: none is set.
        """
        uri = self.settings.mlflow.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            raise ConfigError(
                "mlflow.tracking_uri is not set; name your MLflow server, or let "
                "`prime-spark up` start one"
            )
        return uri

    @property
    def prefect_api_url(self) -> str:
        """The Prefect server's API address.

        Raises:
            ConfigError: none is set.
        """
        url = self.settings.prefect.api_url or os.environ.get("PREFECT_API_URL")
        if not url:
            raise ConfigError(
                "prefect.api_url is not set; name your Prefect server's API (http://…/api), or "
                "let `prime-spark up` start one"
            )
        return url

    @property
    def serving(self) -> Serving:
        """Where the predictor answers, if it has a fixed port."""
        from optimizers.models.promotion import Serving

        serving = self.settings.serving
        url = f"http://{serving.host}:{serving.port}" if serving.port else None
        return Serving(url, deadline_s=5 * serving.poll_seconds + 5.0)

    @cached_property
    def engine(self) -> Engine:
        """The ledger's database, opened."""
        from registry.ledger.database import open_ledger

        self.settings.home_dir.create()
        return open_ledger(self.settings.ledger_url)

    @cached_property
    def reader(self) -> RegistryReader:
        """The registry, for reading."""
        from registry.reader import RegistryReader

        timeout = self.settings.mlflow.timeout_seconds
        cache = self.settings.home_dir.create().model_cache
        return RegistryReader(self.tracking_uri, cache, timeout_s=timeout)

    @cached_property
    def mover(self) -> AliasMover:
        """Moves aliases under the ledger's lock."""
        from registry.alias_client import AliasClient
        from registry.aliases import AliasMover

        timeout = self.settings.mlflow.timeout_seconds
        client = AliasClient(self.tracking_uri, timeout_s=timeout)
        return AliasMover(self.engine, self.clock, client)

    @cached_property
    def alias_history(self) -> AliasHistory:
        """Every move of an alias, seen from outside or made by us."""
        from registry.aliases import AliasHistory

        return AliasHistory(self.engine, self.clock)

    @cached_property
    def registry(self) -> ModelRegistry:
        """The registry, for registering and adopting; imports mlflow."""
        from registry.mlflow_models import ModelRegistry

        return ModelRegistry(self.tracking_uri, self.clock, self.settings.mlflow.experiment)

    @cached_property
    def runs(self) -> RunLog:
        """Publishes runs; imports mlflow."""
        from registry.mlflow_runs import RunLog

        return RunLog(self.tracking_uri, self.settings.mlflow.experiment)

    @cached_property
    def prefect(self) -> PrefectRest:
        """The Prefect server."""
        from flows.prefect_rest import PrefectRest

        return PrefectRest(self.prefect_api_url, self.clock)

    def close(self) -> None:
        """Close what was opened; the context is of no use afterwards."""
        opened = vars(self)
        for name in ("reader", "prefect"):
            if name in opened:
                opened[name].close()
        if "engine" in opened:
            self.engine.dispose()

    def preload_publishing(self) -> None:
        """Import what publishing a test needs while there is nothing else to do."""
        module = "optimizers.models.trial_report"
        thread = threading.Thread(target=importlib.import_module, args=(module,), daemon=True)
        thread.start()

    def rng(self) -> Generator:
        """Fresh randomness from the system."""
        from numpy.random import default_rng

        return default_rng()

    def desk(self, wait: Callable[[float], None] = time.sleep) -> Desk:
        """The working place of a life-cycle controller."""
        from optimizers.models.desk import Desk
        from registry.experiments import ExperimentStore, LifecycleStore
        from registry.exposures import ExposureStore
        from registry.feedback import FeedbackStore
        from registry.ledger.events import EventLog
        from registry.routing import RouteStore

        return Desk(
            engine=self.engine,
            experiments=ExperimentStore(self.engine, self.clock),
            lifecycle=LifecycleStore(self.engine, self.clock),
            routes=RouteStore(self.engine, self.clock),
            exposures=ExposureStore(self.engine),
            feedback=FeedbackStore(self.engine),
            events=EventLog(self.engine, self.clock),
            registry=self.reader,
            moves=self.mover,
            publish_trial=self._publish_trial,
            clock=self.clock,
            wait=wait,
            lease_s=self.settings.experiment.lease_seconds,
        )

    def _publish_trial(self, desk: Desk, experiment: Experiment, decision: Decision) -> RunRef:
        from optimizers.models.trial_report import trial_run

        return self.runs.log(trial_run(desk, experiment, decision))


def open_context() -> Context:
    """The context of this process, from `agent.yaml`, the user's file and the environment.

    Raises:
        ConfigError: a setting is wrong.
    """
    for name in _RUN_LOGGERS:
        # Adding the same filter object twice changes nothing.
        logging.getLogger(name).addFilter(_REDACTION)
    return Context(load_settings())
