"""The eight model actions, one file each: trigger, proposal, effect, verification, undo.

With `models.driver: watch` the flow `watch_models` carries the life-cycle, and benchmark, A/B test,
promotion, retraining and rollback find nothing here; update, deployment and retirement always do.
"""

from __future__ import annotations

from config.settings import Settings
from optimizers.capability import Capability
from optimizers.models.capabilities.ab_test import AbTest
from optimizers.models.capabilities.model_benchmark import ModelBenchmark
from optimizers.models.capabilities.model_deploy import ModelDeploy
from optimizers.models.capabilities.model_promote import ModelPromote
from optimizers.models.capabilities.model_retire import ModelRetire
from optimizers.models.capabilities.model_retrain import ModelRetrain
from optimizers.models.capabilities.model_rollback import ModelRollback
from optimizers.models.capabilities.model_update import ModelUpdate

__all__ = ["all_capabilities"]


def all_capabilities(settings: Settings) -> list[Capability]:
    """The model actions for these settings."""
    return [
        ModelRollback(settings),
        ModelPromote(settings),
        AbTest(settings),
        ModelBenchmark(settings),
        ModelRetrain(settings),
        ModelDeploy(settings),
        ModelUpdate(settings),
        ModelRetire(settings),
    ]
