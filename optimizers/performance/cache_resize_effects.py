"""How a cache's new size is measured: once it is full, and beside what was predicted for it.

Windows, never pairs: each switch back would empty what the larger cache has gathered.
"""

from __future__ import annotations

from dataclasses import replace

from config.settings import Settings
from optimizers.capability import Switch, Tools
from optimizers.knob_effects import KnobEffects
from optimizers.knob_samples import SampledSides
from registry.agent_records import Action, Effect, Verdict

MOST_WARM_S = 3600.0
"""A cache that takes longer to fill is measured half full."""

PREDICTED, LOW, HIGH = "predicted_hit_rate", "predicted_low", "predicted_high"
WARM = "warm_seconds"
MEMORY = "memory_percent@host"


class CacheEffects(KnobEffects):
    """As those of any knob, but measured when the cache is warm, and within the memory there is."""

    def __init__(self, settings: Settings) -> None:
        agent = settings.agent
        self._every_s = agent.verify_seconds / agent.verify_samples
        super().__init__(
            samples=agent.verify_samples, every_s=self._every_s, alpha=agent.verify_alpha
        )
        self._memory_percent = settings.performance.memory_cleanup.memory_percent
        self._warm_at: dict[str, float] = {}
        self._look_at: dict[str, float] = {}

    def verify(self, action: Action, tools: Tools) -> Effect | Switch | None:
        """Wait until the cache is warm, then sample as before the change, and judge."""
        now = tools.clock.monotonic()
        if now >= self._look_at.get(action.id, now):
            self._look_at[action.id] = now + self._every_s
            full = self._full_memory(tools)
            if full is not None:
                return full
        warm_at = self._warm_at.setdefault(action.id, now + _warm_seconds(action))
        return super().verify(action, tools) if now >= warm_at else None

    def judge(self, action: Action, sides: SampledSides, *, paired: bool) -> Effect:
        """Judge as ever, and say what was predicted and what has come of it."""
        effect = super().judge(action, sides, paired=paired)
        said = _compared(action, sides)
        return replace(effect, reason=f"{said}; {effect.reason}") if said else effect

    def _full_memory(self, tools: Tools) -> Effect | None:
        """Growing takes memory on purpose: only that the machine runs out of it speaks against."""
        if "host" not in tools.targets:
            return None
        used = tools.sample("host", ["memory_percent"]).get("memory_percent")
        if used is None or used <= self._memory_percent:
            return None
        reason = f"the machine's memory is {used:.0f} % full, above {self._memory_percent:g} %"
        return Effect(Verdict.WORSE, reason, worsened=(MEMORY,))


def _warm_seconds(action: Action) -> float:
    wanted = action.proposal.parameters.get(WARM)
    return min(float(wanted), MOST_WARM_S) if isinstance(wanted, int | float) else 0.0


def _compared(action: Action, sides: SampledSides) -> str:
    """The predicted beside the realised hit rate; empty where none was predicted."""
    known = [action.proposal.parameters.get(name) for name in (PREDICTED, LOW, HIGH)]
    predicted, low, high = [one if isinstance(one, int | float) else None for one in known]
    found = [one for one in sides.after.get(action.proposal.goal_metric, ()) if one is not None]
    if predicted is None or low is None or high is None or not found:
        return ""
    realised = sum(found) / len(found)
    return f"predicted hit rate {predicted:.1%} ({low:.1%} to {high:.1%}), realised {realised:.1%}"
