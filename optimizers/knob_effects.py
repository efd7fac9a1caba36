"""How a change of one knob touches the world, is undone exactly, and is judged by samples.

Two ways to sample (`optimizers.knob_samples`):

- **windows** around one switch. Those before the change are taken between intent and effect and
  noted in the action's progress, so that whoever verifies it has them; those after it are kept in
  memory, and a process that goes on after a crash takes them anew.
- **pairs**: while its effect is measured, the knob is switched between both values, pair by pair in
  random order. That tells an effect from noise and from load that moves by itself far better, and
  is for knobs whose switching is cheap and leaves nothing behind. What cannot be undone is never
  switched back, so it is judged by windows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import JsonValue

from config.errors import ConflictError
from config.settings import AgentSettings
from optimizers.capability import Seen, Sight, Switch, Tools
from optimizers.knob_samples import Pairs, SampledSides, Windows
from optimizers.targets.base import Guard
from registry.agent_records import Action, Change, Direction, Effect, Verdict
from registry.metric_names import MetricName

HIGHER_IS_BETTER = frozenset({"accuracy", "cache_hit_rate", "throughput_rps"})
"""Guardrail metrics of which less is worse; of all others, more is."""

SWITCH_SETTLE_S = 2.0
"""What a knob is given, by default, to settle at each switch, seconds."""

_BEFORE = "before"
_AFTER = "after"


class KnobEffects:
    """Effects of actions that change a knob of their target.

    A goal metric or guardrail of another target is named `metric@target`.

    Args:
        samples: samples before the change, and after it; the number of pairs.
        every_s: seconds from one sample to the next.
        alpha: error rate of the judge.
        higher_is_better: guardrail metrics of which less is worse.
        pairs: switch the knob to and fro, and sample in pairs.
        switch_settle_s: of `every_s`, the seconds that are not measured after each switch.
    """

    def __init__(
        self,
        *,
        samples: int,
        every_s: float,
        alpha: float = 0.005,
        higher_is_better: Collection[str] = HIGHER_IS_BETTER,
        pairs: bool = False,
        switch_settle_s: float = SWITCH_SETTLE_S,
    ) -> None:
        self._alpha = alpha
        self._higher_is_better = frozenset(higher_is_better)
        self._windows = Windows(samples, every_s)
        self._pairs = Pairs(samples, every_s, switch_settle_s) if pairs else None
        self._first = Windows(1, every_s)

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

        Before pairs one sample will do: it shows that there is something to measure.

        Raises:
            ConflictError: the goal metric is missing, so nobody could tell whether it helps.
        """
        windows = self._windows if self._paired(action) is None else self._first
        window = windows.fill(action, _BEFORE, tools)
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
        self.switch(action, Sight.AFTER, guard, tools)
        return {}

    def verify(self, action: Action, tools: Tools) -> Effect | Switch | None:
        """Sample windows or pairs, then judge them once."""
        before = action.progress.get(_BEFORE)
        if not isinstance(before, Mapping):
            return Effect(Verdict.NO_DATA, "there are no samples from before the change")
        pairs = self._paired(action)
        if pairs is not None:
            found = pairs.advance(action, tools)
            if not isinstance(found, SampledSides):
                return found
            return self.judge(action, found, paired=True)
        after = self._windows.fill(action, _AFTER, tools)
        if after is None:
            return None
        sides = SampledSides({name: _floats(before.get(name)) for name in after}, after)
        return self.judge(action, sides, paired=False)

    def switch(self, action: Action, to: Sight, guard: Guard, tools: Tools) -> None:
        """Set the knob from its value at one side to exactly the one at the other."""
        change = _change_of(action)
        if to is not Sight.AFTER:
            change = Change(change.knob, before=change.after, after=change.before)
        tools.targets[action.proposal.target].write(change, guard)

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """Set the knob back to exactly the value it had."""
        self.switch(action, Sight.BEFORE, guard, tools)

    def judge(self, action: Action, sides: SampledSides, *, paired: bool) -> Effect:
        """Say whether the goal metric improved, and no guardrail got worse."""
        # Imported here: the judge brings SciPy, which the resident agent must not load.
        from benchmarks.effect import EffectData, Guardrail, Layout, judge  # noqa: PLC0415

        layout = Layout.PAIRS if paired else Layout.WINDOWS
        proposal = action.proposal
        data = {
            name: EffectData(sides.before[name], sides.after[name], layout) for name in sides.after
        }
        guardrails = {
            name: Guardrail(data[name], self._better(name)) for name in proposal.guardrails
        }
        return judge(
            data[proposal.goal_metric],
            direction=proposal.goal_direction,
            alpha=self._alpha,
            guardrails=guardrails,
        ).to_effect()

    def _paired(self, action: Action) -> Pairs | None:
        return self._pairs if action.proposal.reversible else None

    def _better(self, name: str) -> Direction:
        up = MetricName.parse(name).metric in self._higher_is_better
        return Direction.MAXIMIZE if up else Direction.MINIMIZE


def knob_effects(
    agent: AgentSettings, *, pairs: bool = False, switch_settle_s: float = SWITCH_SETTLE_S
) -> KnobEffects:
    """Effects with as many samples, as fast and as strictly judged as the agent is set to.

    In pairs both sides share `verify_seconds`; a window takes them before the change and after.
    Settling takes half of a sample's time at most.
    """
    every_s = agent.verify_seconds / agent.verify_samples / (2 if pairs else 1)
    return KnobEffects(
        samples=agent.verify_samples,
        every_s=every_s,
        alpha=agent.verify_alpha,
        pairs=pairs,
        switch_settle_s=min(switch_settle_s, every_s / 2),
    )


def _change_of(action: Action) -> Change:
    if action.proposal.change is None:
        raise ConflictError(f"action {action.id} is a job; it changes no knob")
    return action.proposal.change


def _floats(values: JsonValue) -> list[float]:
    if not isinstance(values, list):
        return []
    return [float(value) for value in values if isinstance(value, int | float)]
