"""What the agent might see of network namespaces, and actions it might remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from config.settings import Settings
from optimizers.performance.tcp_tuning import TcpTuning
from optimizers.targets.network_facts import NetworkFacts
from optimizers.targets.network_knobs import (
    CONGESTION,
    DEVICE_BACKLOG,
    RMEM,
    SLOW_START,
    SOMAXCONN,
    SYN_BACKLOG,
    WMEM,
)
from optimizers.view import View
from registry.agent_records import (
    Action,
    ActionState,
    Decision,
    Effect,
    Observation,
    Proposal,
    Verdict,
)

AT = 1_000_000.0
USUAL = {
    RMEM: "4096\t131072\t6291456",
    WMEM: "4096\t16384\t4194304",
    CONGESTION: "cubic",
    SLOW_START: "1",
    SYN_BACKLOG: "1024",
    SOMAXCONN: "4096",
    DEVICE_BACKLOG: "1000",
}
FACTS = NetworkFacts(None, USUAL, ("reno", "bbr", "cubic"), writable=True)


def tuning(**settings: object) -> TcpTuning:
    """The capability with some of its own settings."""
    return TcpTuning(Settings.model_validate({"performance": {"tcp_tuning": settings}}))


def seen(
    metrics: Mapping[str, float],
    facts: NetworkFacts = FACTS,
    *,
    target: str = "network",
    actions: Sequence[Action] = (),
    at: float = AT,
) -> View:
    """Five looks with the same numbers, the last one now; most traffic is on new connections."""
    values = {"fresh_traffic_share": 1.0, "memory_pressures_per_second": 0.0} | dict(metrics)
    times = [at - 30.0 * step for step in reversed(range(5))]
    history = {
        (target, metric): [Observation(target, metric, value, one) for one in times]
        for metric, value in values.items()
    }
    return View(at=at, history=history, facts={target: facts}, actions=actions)


def with_values(values: Mapping[str, str], facts: NetworkFacts = FACTS) -> NetworkFacts:
    """The same namespace with other values."""
    return replace(facts, values=dict(facts.values) | dict(values))


def ended(
    proposal: Proposal, state: ActionState, verdict: Verdict | None = None, at: float = AT - 600.0
) -> Action:
    """An action that has ended."""
    decision = Decision(
        run=True,
        expected_improvement=0.1,
        success_probability=0.8,
        success_low=0.0,
        success_high=1.0,
        exposure=0.1,
        risk=0.5,
        expected_value=0.08,
        score=0.05,
    )
    return Action(
        id=f"action-{proposal.key}",
        proposal=proposal,
        decision=decision,
        state=state,
        reason="",
        created_at=at,
        updated_at=at,
        effect=None if verdict is None else Effect(verdict, ""),
        executed_at=at,
        finished_at=at,
    )


def proposals(capability: TcpTuning, view: View) -> list[Proposal]:
    """Everything it would do."""
    return [
        proposal
        for finding in capability.detect(view)
        for proposal in capability.propose(finding, view)
    ]
