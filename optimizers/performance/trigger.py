"""Triggers that are met in k of the last n looks: lasting trouble, not one bad moment. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.performance_settings import TriggerSettings
from optimizers.view import View

# A look that is older than this many usual intervals says nothing about now.
_STALE_LOOKS = 3.0


@dataclass(frozen=True, slots=True)
class Sustained:
    """A trigger that is met: in how many of how many looks, and the last value."""

    met: int
    looks: int
    last: float


def sustained(
    view: View,
    series: tuple[str, str],
    settings: TriggerSettings,
    met: Callable[[float], bool],
    labels: tuple[tuple[str, str], ...] = (),
) -> Sustained | None:
    """Whether a metric met a condition in `settings.samples` of its last `settings.of` looks.

    Fewer than `settings.samples` looks, an old last look, or a last look that does not meet it
    give None.

    Args:
        view: what is known.
        series: target and metric.
        settings: how many looks of how many.
        met: the condition on one value.
        labels: the series of the metric; empty for all of the target.
    """
    found = [one for one in view.history.get(series, ()) if one.labels == labels]
    found = [one for one in found if one.at <= view.at][-settings.of :]
    if len(found) < settings.samples or not met(found[-1].value):
        return None
    if len(found) > 1:
        interval = (found[-1].at - found[0].at) / (len(found) - 1)
        if view.at - found[-1].at > max(60.0, _STALE_LOOKS * interval):
            return None
    count = sum(met(one.value) for one in found)
    if count < settings.samples:
        return None
    return Sustained(count, len(found), found[-1].value)
