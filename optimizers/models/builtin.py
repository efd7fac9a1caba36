"""Entry points of the model actions, and of the target they act on."""

from __future__ import annotations

from collections.abc import Sequence

from optimizers.capability import Capability
from optimizers.deployment.places import deployment_places
from optimizers.models.agent_target import ModelsTarget
from optimizers.models.capabilities.ab_test import AbTest
from optimizers.models.capabilities.model_benchmark import ModelBenchmark
from optimizers.models.capabilities.model_deploy import ModelDeploy
from optimizers.models.capabilities.model_promote import ModelPromote
from optimizers.models.capabilities.model_retire import ModelRetire
from optimizers.models.capabilities.model_retrain import ModelRetrain
from optimizers.models.capabilities.model_rollback import ModelRollback
from optimizers.models.capabilities.model_update import ModelUpdate
from optimizers.models.model_tools import EXTRA, ModelTools
from optimizers.models.sources import update_sources
from optimizers.plugins import PluginContext
from optimizers.targets.base import Target
from registry.retirement import RetirementClient

RUN_STATES = "run_states"
"""Name in the context's extras of what asks Prefect for flow runs."""


def models(context: PluginContext) -> Sequence[Target]:
    """Entry point `models`: the life-cycle of every model, where registry and ledger are known."""
    url, tools = context.addresses.get("mlflow"), context.extras.get(EXTRA)
    run_states = context.extras.get(RUN_STATES)
    if url is None or not isinstance(tools, ModelTools) or not callable(run_states):
        return []
    timeout_s = context.settings.mlflow.timeout_seconds
    return [
        ModelsTarget(
            tools.desk,
            context.settings,
            run_states,
            retirement=RetirementClient(url, context.clock, timeout_s=timeout_s),
            predictor_url=context.addresses.get("predictor"),
            find_updates=update_sources(context.settings, context.clock).find,
            see_places=deployment_places(context.settings).see,
        )
    ]


def ab_test(context: PluginContext) -> Capability:
    """Entry point `ab_test`."""
    return AbTest(context.settings)


def model_benchmark(context: PluginContext) -> Capability:
    """Entry point `model_benchmark`."""
    return ModelBenchmark(context.settings)


def model_deploy(context: PluginContext) -> Capability:
    """Entry point `model_deploy`."""
    return ModelDeploy(context.settings)


def model_promote(context: PluginContext) -> Capability:
    """Entry point `model_promote`."""
    return ModelPromote(context.settings)


def model_retire(context: PluginContext) -> Capability:
    """Entry point `model_retire`."""
    return ModelRetire(context.settings)


def model_retrain(context: PluginContext) -> Capability:
    """Entry point `model_retrain`."""
    return ModelRetrain(context.settings)


def model_rollback(context: PluginContext) -> Capability:
    """Entry point `model_rollback`."""
    return ModelRollback(context.settings)


def model_update(context: PluginContext) -> Capability:
    """Entry point `model_update`."""
    return ModelUpdate(context.settings)
