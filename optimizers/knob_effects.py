"""How a change of one knob touches the world, is undone exactly, and is judged by sampled windows.

The samples before the change are taken between intent and effect and noted in the action's
progress, so that whoever verifies it has them. The samples after it are kept in memory: a process
that goes on after a crash takes them anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from config.errors import ConflictError
from optimizers.capability import Seen, Sight, Tools
from optimizers.targets.base import Guard
from registry.agent_records import Action, Change, Direction, Effect, Verdict

HIGHER_IS_BETTER = frozenset({"accuracy", "cache_hit_rate", "throughput_rps"})
"""Guardrail metrics of which less is worse; of all others, more is."""

_BEFORE = "before"
_AFTER = "after"
# A metric that is missing every other time still fills its window.
_MOST_TRIES = 2


@dataclass(slots=True)
class _Window:
    """Samples of some metrics, one look after the other."""

    next_at: float = 0.0
    tries: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)


class KnobEffects:
    """Effects of actions that change a knob of their target.

    Args:
        samples: samples before the change, and after it.
        every_s: seconds from one sample to the next.
        alpha: error rate of the judge.
        higher_is_better: guardrail metrics of which less is worse.
    """

    def __init__(
        self,
        *,
        samples: int,
        every_s: float,
        alpha: float = 0.005,
        higher_is_better: Collection[str] = HIGHER_IS_BETTER,
    ) -> None:
        self._samples = samples
        self._every_s = every_s
        self._alpha = alpha
        self._higher_is_better = frozenset(higher_is_better)
        self._windows: dict[tuple[str, str], _Window] = {}

    def look(self, action: Action, tools: Tools) -> Seen:
        """Read the knob."""
        change = _change_of(action)
        value = tools.targets[action.proposal.target].read(change.knob)
        detail = f"{change.knob} is {value!r}"
        if value == change.after:
            return Seen(Sight.AFTER, detail, value)
        return Seen(Sight.BEFORE if value == change.before else Sight.OTHER, detail, value)

    def prepare(self, action: Action, tools: Tools) -> Mapping[str, JsonValue] | None:
        """Sample the goal metric and the guardrails as they are without the change.

        Raises:
            ConflictError: the goal metric is missing, so nobody could tell whether it helps.
        """
        window = self._sampled(action, _BEFORE, tools)
        if window is None:
            return None
        if not window.get(action.proposal.goal_metric):
            raise ConflictError(
                f"{action.proposal.goal_metric} of {action.proposal.target} gave no sample; "
                "without one the change could not be verified"
            )
        values: dict[str, JsonValue] = {name: list(found) for name, found in window.items()}
        return {_BEFORE: values}

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        """Set the knob from its value before to the one after, or change nothing."""
        tools.targets[action.proposal.target].write(_change_of(action), guard)
        return {}

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        """Sample as before the change, then judge the two windows once."""
        before = action.progress.get(_BEFORE)
        if not isinstance(before, Mapping):
            return Effect(Verdict.NO_DATA, "there are no samples from before the change")
        after = self._sampled(action, _AFTER, tools)
        if after is None:
            return None
        return self._judged(action, {name: _floats(before.get(name)) for name in after}, after)

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """Set the knob back to exactly the value it had."""
        change = _change_of(action)
        back = Change(change.knob, before=change.after, after=change.before)
        tools.targets[action.proposal.target].write(back, guard)

    def _sampled(self, action: Action, name: str, tools: Tools) -> dict[str, list[float]] | None:
        """Take a sample if it is time; return the window once it is full."""
        window = self._windows.setdefault((action.id, name), _Window())
        now = tools.clock.monotonic()
        if now >= window.next_at:
            window.next_at = now + self._every_s
            window.tries += 1
            for metric in (action.proposal.goal_metric, *action.proposal.guardrails):
                value = tools.sample(action.proposal.target, metric)
                window.values.setdefault(metric, [])
                if value is not None:
                    window.values[metric].append(value)
        full = len(window.values[action.proposal.goal_metric]) >= self._samples
        if not full and window.tries < _MOST_TRIES * self._samples:
            return None
        del self._windows[action.id, name]
        return window.values

    def _judged(
        self,
        action: Action,
        before: Mapping[str, Sequence[float]],
        after: Mapping[str, Sequence[float]],
    ) -> Effect:
        # Imported here: the judge brings SciPy, which the resident agent must not load.
        from benchmarks.effect import EffectData, Guardrail, judge  # noqa: PLC0415

        proposal = action.proposal
        data = {name: EffectData(before[name], after[name]) for name in after}
        guardrails = {
            name: Guardrail(data[name], self._better(name)) for name in proposal.guardrails
        }
        return judge(
            data[proposal.goal_metric],
            direction=proposal.goal_direction,
            alpha=self._alpha,
            guardrails=guardrails,
        ).to_effect()

    def _better(self, metric: str) -> Direction:
        up = metric in self._higher_is_better
        return Direction.MAXIMIZE if up else Direction.MINIMIZE


def _change_of(action: Action) -> Change:
    if action.proposal.change is None:
        raise ConflictError(f"action {action.id} is a job; it changes no knob")
    return action.proposal.change


def _floats(values: JsonValue) -> list[float]:
    if not isinstance(values, list):
        return []
    return [float(value) for value in values if isinstance(value, int | float)]
