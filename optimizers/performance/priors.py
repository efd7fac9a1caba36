"""What is believed of a performance action before any was verified: the table of the settings."""

from __future__ import annotations

from config.performance_settings import TriggerSettings
from optimizers.capability import Prior
from registry.agent_records import Estimate


def prior_of(settings: TriggerSettings) -> Prior:
    """The prior of a capability, as its settings have it."""
    return Prior(improvement=settings.expected_improvement, risk=settings.risk)


def estimate_of(settings: TriggerSettings) -> Estimate:
    """The expected gain where no study has a better one: the table's, from nothing to twice it."""
    gain = settings.expected_improvement
    return Estimate(gain, 0.0, 2.0 * gain)
