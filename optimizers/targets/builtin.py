"""Entry points of the targets that come with Prime Spark.

A target whose server's address is not known is left out: there is nothing to look at.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from optimizers.plugins import PluginContext
from optimizers.targets.base import Target
from optimizers.targets.host import HostTarget
from optimizers.targets.mlflow import MlflowTarget
from optimizers.targets.prefect import PrefectTarget, credentials
from optimizers.targets.prometheus import PrometheusTarget
from optimizers.targets.registry import RegistryTarget
from optimizers.targets.serving import ServingTarget
from optimizers.targets.serving_knobs import EXTRA, ServingKnobs
from registry.knobs import KnobStore


def host(context: PluginContext) -> Target:
    """Entry point `host`: this machine, with the file systems of the root and of the home."""
    disks = dict.fromkeys(("/", str(context.settings.home_dir.root)))
    return HostTarget(context.clock, tuple(disks))


def serving(context: PluginContext) -> Sequence[Target]:
    """Entry point `serving`: the local predictor; without a ledger it is only observed."""
    url, store = context.addresses.get("predictor"), context.extras.get(EXTRA)
    if not url:
        return []
    knobs = ServingKnobs(store) if isinstance(store, KnobStore) else None
    traffic = context.settings.home_dir.traffic
    return [ServingTarget(url, context.clock, knobs=knobs, traffic=traffic)]


def registry(context: PluginContext) -> Sequence[Target]:
    """Entry point `registry`: the models of the MLflow server."""
    url, timeout = context.addresses.get("mlflow"), context.settings.mlflow.timeout_seconds
    return [RegistryTarget(url, context.clock, timeout_s=timeout)] if url else []


def mlflow(context: PluginContext) -> Sequence[Target]:
    """Entry point `mlflow`: the MLflow server itself."""
    url = context.addresses.get("mlflow")
    return [MlflowTarget(url, context.clock)] if url else []


def prefect(context: PluginContext) -> Sequence[Target]:
    """Entry point `prefect`: the Prefect server."""
    url, pool = context.addresses.get("prefect"), context.settings.prefect.work_pool
    headers = credentials(os.environ)
    return [PrefectTarget(url, context.clock, pool, headers=headers)] if url else []


def prometheus(context: PluginContext) -> Sequence[Target]:
    """Entry point `prometheus`: one target for each server in the settings."""
    return [
        PrometheusTarget(one.name, one.url, one.queries, context.clock)
        for one in context.settings.prometheus
    ]
