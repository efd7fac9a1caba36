"""Carries one action out in this process: that of a flow run, or of a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from config.errors import ConflictError, InputError
from flows.resident.executing import CANCELLED, cancel
from optimizers.capability import Tools
from optimizers.execution import run_action
from optimizers.execution_desk import ActionDesk
from registry.agent_records import Action, ActionState, Observation
from registry.metric_names import MetricName

if TYPE_CHECKING:
    from flows.resident.world import AgentWorld


def carry_out(
    world: AgentWorld, action_id: str, *, holder: str, wait: Callable[[float], None] = time.sleep
) -> Action:
    """Carry an action out, until it has ended or waits; return it as the ledger has it then.

    Args:
        world: the stores and what actions touch the world with.
        action_id: the action.
        holder: who does it; no other process has this name.
        wait: lets seconds pass; what it raises cuts the action off.

    Raises:
        InputError: there is no such action.
        UnavailableError: the ledger is away; the action stays as it was, for the next process.
    """
    try:
        return run_action(desk_of(world, wait), action_id, holder)
    except ConflictError:
        # Another process is at work on it, or took it over: it is theirs.
        return known_action(world, action_id)


def undo_cancelled(world: AgentWorld, action_id: str, *, holder: str) -> Action:
    """Bring an action that a person cancelled to a safe end.

    Raises:
        InputError: there is no such action.
        ConflictError: another process is at work on it.
    """
    action = known_action(world, action_id)
    if not action.state.final:
        cancel(world, action, CANCELLED)
    return carry_out(world, action_id, holder=holder)


def desk_of(world: AgentWorld, wait: Callable[[float], None]) -> ActionDesk:
    """What actions are carried out with."""
    stores = world.stores
    return ActionDesk(
        actions=stores.actions,
        control=stores.control,
        learning=stores.learning,
        capabilities=world.capabilities,
        tools=tools_of(world, wait),
        settings=world.settings,
        clock=world.clock,
        paused=world.paused,
        publish=lambda action: publish(world, action),
    )


def tools_of(world: AgentWorld, wait: Callable[[float], None]) -> Tools:
    """What effects and studies work with."""
    return Tools(
        targets=world.targets,
        jobs=world.jobs,
        clock=world.clock,
        wait=wait,
        sample=lambda target, metrics: sample(world, target, metrics),
        extras=world.plugins.extras,
    )


def sample(world: AgentWorld, target: str, metrics: Sequence[str]) -> dict[str, float]:
    """The present values of a target's metrics, from one look at it; the missing are left out.

    Args:
        world: where the target is known.
        target: its name.
        metrics: names, with labels where one of several series is meant.

    Raises:
        InputError: a name has no such form.
        UnavailableError: the target does not answer.
    """
    known = world.targets.get(target)
    if known is None:
        return {}
    observed = known.observe(world.now, world.settings.agent.target_timeout_seconds)
    values = {name: _value(observed.observations, MetricName.parse(name)) for name in metrics}
    return {name: value for name, value in values.items() if value is not None}


def _value(observations: Sequence[Observation], wanted: MetricName) -> float | None:
    """The value of the series with just these labels, else of the only one that has them all."""
    labels = set(wanted.labels)
    found = [
        one for one in observations if one.metric == wanted.metric and labels <= set(one.labels)
    ]
    exact = [one.value for one in found if len(one.labels) == len(labels)]
    if exact:
        return exact[0]
    return found[0].value if len(found) == 1 else None


def publish(world: AgentWorld, action: Action) -> str | None:
    """Log an action that has ended as an MLflow run; the same action again is the same run.

    Raises:
        UnavailableError: the MLflow server does not answer.
    """
    if "mlflow" not in world.plugins.addresses or action.state is ActionState.SIMULATED:
        return None
    from optimizers.action_report import action_run

    story = world.stores.actions.stories(action.id)
    return world.context.runs.log(action_run(action, story)).run_id


def known_action(world: AgentWorld, action_id: str) -> Action:
    """The action as the ledger has it now.

    Raises:
        InputError: there is no such action.
    """
    found = world.stores.actions.get(action_id)
    if found is None:
        raise InputError(f"there is no action {action_id}; `prime-spark actions` lists them")
    return found
