"""Loads the targets, capabilities and notifiers in use, and hands them what they need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from config.errors import ConfigError
from optimizers.plugins import PluginContext

if TYPE_CHECKING:
    from flows.context import Context
    from optimizers.models.model_tools import ModelTools
    from optimizers.models.observing import RunStates
    from optimizers.models.watching import RunState


def plugin_context(context: Context) -> PluginContext:
    """What plugins may use; a server that is not named has no address."""
    found = {
        "predictor": context.serving.url,
        "mlflow": address(lambda: context.tracking_uri),
        "prefect": address(lambda: context.prefect_api_url),
    }
    addresses = {name: url for name, url in found.items() if url}
    extras: dict[str, object] = {}
    if "predictor" in addresses:
        from optimizers.targets.serving_knobs import EXTRA as KNOBS
        from registry.knobs import KnobStore

        extras[KNOBS] = KnobStore(context.engine, context.clock)
    if "mlflow" in addresses:
        from optimizers.models.builtin import RUN_STATES
        from optimizers.models.model_tools import EXTRA

        extras |= {EXTRA: model_tools(context), RUN_STATES: run_states(context)}
    return PluginContext(context.settings, context.clock, addresses, extras)


def model_tools(context: Context) -> ModelTools:
    """What the model actions work with."""
    from optimizers.models.model_tools import ModelTools

    return ModelTools(context.desk(), context.settings, context.serving)


def run_states(context: Context) -> RunStates:
    """What asks Prefect for flow runs; without a server nothing is known of any."""
    return context.prefect.run_states if has_prefect(context) else _unknown


def has_prefect(context: Context) -> bool:
    """Whether a Prefect server is named."""
    return address(lambda: context.prefect_api_url) is not None


def address(named: Callable[[], str]) -> str | None:
    """A server's address, or None when none is named."""
    try:
        return named()
    except ConfigError:
        return None


def _unknown(_ids: Collection[str]) -> Mapping[str, RunState]:
    return {}
