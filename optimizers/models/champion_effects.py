"""How the champion's change touches the world: promotion and rollback, and their way back.

The knob is the alias `@champion`. The life-cycle's own functions move it, with `@previous` and the
stages that belong to it; what stood there before is noted first, and put back exactly. The gain was
measured by the trial (or by late labels) before; here it is seen that serving follows, and that the
new champion does not fail or dawdle more often than the former did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from config.clock import epoch
from config.errors import ConflictError
from optimizers.capability import Seen, Sight, Tools
from optimizers.models.desk import Desk, move_stage
from optimizers.models.model_tools import ModelTools, model_tools
from optimizers.models.promotion import Promotion, Serving
from optimizers.models.served import served_versions
from optimizers.targets.base import Guard
from registry.agent_records import Action, Change, Effect, Verdict
from registry.records import CHAMPION_ALIAS, PREVIOUS_ALIAS, Stage

ACTOR = "agent"
# The life-cycle's functions look at the predictor when they know one; here `verify` does.
UNSEEN = Serving(None)

Carry = Callable[[Desk, Action, Callable[[], None]], Promotion]
"""Carries the change out; the last argument is asked right before each write."""


@dataclass(frozen=True, slots=True)
class ChampionEffects:
    """Moves `@champion` from one version to another; `carry` is the promotion or the rollback."""

    carry: Carry

    def look(self, action: Action, tools: Tools) -> Seen:
        """Read the alias, and whether the life-cycle has recorded its champion."""
        desk, change = model_tools(tools).desk, _change(action)
        model, after = action.proposal.subject, change.after
        champion = desk.registry.aliases(model).get(CHAMPION_ALIAS)
        if champion == after and isinstance(after, int):
            stage = desk.lifecycle.get(model, after)
            if stage is not None and stage.stage is Stage.CHAMPION:
                return Seen(Sight.AFTER, f"@champion is version {after}", champion)
            # Applying it again finishes the record.
            return Seen(Sight.BEFORE, "the alias has moved, its record is not finished", champion)
        if champion == change.before:
            return Seen(Sight.BEFORE, f"@champion is version {champion}", champion)
        return Seen(Sight.OTHER, f"@champion was moved to version {champion}", champion)

    def prepare(self, action: Action, tools: Tools) -> Mapping[str, JsonValue] | None:
        """Note where the way back leads."""
        desk, model = model_tools(tools).desk, action.proposal.subject
        after = _version(_change(action).after)
        stage = desk.lifecycle.get(model, after) if after is not None else None
        return {
            "previous": desk.registry.aliases(model).get(PREVIOUS_ALIAS),
            "stage": stage.stage.value if stage is not None else None,
        }

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        """Move the aliases and stages; done half, it is finished."""
        guard.check()
        desk = model_tools(tools).desk
        done = self.carry(desk, action, guard.check)
        return {"moved_at": epoch(desk.clock.now()), "reason": done.reason}

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        """See that the predictor follows, then watch the guardrails for `agent.verify_seconds`.

        Raises:
            UnavailableError: the predictor or the ledger does not answer.
        """
        own, change = model_tools(tools), _change(action)
        if own.serving.url is None:
            reason = "no predictor is known (serving.port), so nobody can see what is served"
            return Effect(Verdict.NO_DATA, reason)
        moved_at = _moved_at(action)
        elapsed = epoch(own.desk.clock.now()) - moved_at
        seen = served_versions(own.serving.url, action.proposal.subject)
        if change.after not in seen or change.before in seen:
            if elapsed < own.serving.deadline_s:
                return None
            shown = ", ".join(map(str, seen)) or "nothing"
            return Effect(
                Verdict.INCONCLUSIVE, f"after {elapsed:.0f} s the predictor serves {shown}"
            )
        return self._guarded(action, own, moved_at, elapsed)

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """Put both aliases back as they were, and say so in the stages."""
        own, change = model_tools(tools), _change(action)
        _restore(own.desk, action, change, guard.check)

    def _guarded(
        self, action: Action, own: ModelTools, moved_at: float, elapsed: float
    ) -> Effect | None:
        # Brings SciPy along, which the resident agent has no use for.
        from optimizers.models.champion_check import worsened  # noqa: PLC0415

        change = _change(action)
        assert isinstance(change.after, int)
        bad = worsened(
            own.desk,
            action.proposal.subject,
            new=change.after,
            former=change.before if isinstance(change.before, int) else None,
            moved_at=moved_at,
            alpha=own.settings.agent.verify_alpha,
        )
        if bad:
            names = tuple(bad)
            return Effect(Verdict.WORSE, "; ".join(bad.values()), worsened=names)
        if elapsed < own.settings.agent.verify_seconds:
            return None
        reason = f"version {change.after} is served, and no guardrail spoke in {elapsed:.0f} s"
        return Effect(Verdict.IMPROVED, reason, *_measured(action))


def _restore(desk: Desk, action: Action, change: Change, permit: Callable[[], None]) -> None:
    model, reason = action.proposal.subject, f"taken back: {action.reason}"
    permit()
    desk.moves.recover(model)
    wanted: list[tuple[str, int | None, tuple[int | None, ...]]] = [
        (CHAMPION_ALIAS, _version(change.before), (_version(change.after),)),
    ]
    if "previous" in action.progress:
        # On its way the change writes the former champion here; anything else is a person's.
        ours = (_version(change.before), _version(change.after))
        wanted.append((PREVIOUS_ALIAS, _version(action.progress["previous"]), ours))
    for alias, to, from_one_of in wanted:
        now = desk.registry.aliases(model).get(alias)
        if now == to:
            continue
        if now not in from_one_of:
            if alias == PREVIOUS_ALIAS:
                continue
            raise ConflictError(
                f"{model}@{alias} names version {now}, which this action did not set; a person's "
                "move stands"
            )
        desk.moves.move(
            model, alias, expected=now, to=to, actor=ACTOR, reason=reason, permit=permit
        )
    _restage(desk, action, change, reason)


def _restage(desk: Desk, action: Action, change: Change, reason: str) -> None:
    """Put the stages back; a version that was found wanting is stopped instead.

    Standing where it stood, it would be promoted anew at once, and fail as before.
    """
    model, left, back = action.proposal.subject, _version(change.after), _version(change.before)
    now = desk.lifecycle.get(model, left) if left is not None else None
    if left is not None and now is not None and now.stage in {Stage.CHAMPION, Stage.PROMOTING}:
        stood = action.progress.get("stage")
        to = Stage(stood) if isinstance(stood, str) and action.effect is None else Stage.STOPPED
        move_stage(desk.lifecycle, model, left, to, reason)
    if back is not None:
        former = desk.lifecycle.get(model, back)
        if former is None or former.stage is not Stage.CHAMPION:
            move_stage(desk.lifecycle, model, back, Stage.CHAMPION, reason)


def _change(action: Action) -> Change:
    change = action.proposal.change
    if change is None:
        raise ConflictError(f"action {action.id} holds no change of @{CHAMPION_ALIAS}")
    return change


def _version(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None


def _moved_at(action: Action) -> float:
    noted = action.progress.get("moved_at")
    return float(noted) if isinstance(noted, int | float) else (action.executed_at or 0.0)


def _measured(action: Action) -> tuple[float | None, float | None, float | None]:
    """The gain the trial measured, with its interval; none where there was no trial."""
    if action.proposal.parameters.get("measured") is not True:
        return None, None, None
    expected = action.proposal.expected
    return expected.mean, expected.low, expected.high
