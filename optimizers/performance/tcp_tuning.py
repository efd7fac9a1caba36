"""`tcp_tuning`: the kernel's TCP settings of a network namespace, one at a time.

Trigger: a network latency or a share of retransmits past its setting, buffers or queues that hold
connections back, or TCP out of memory, each in k of the last n looks. Effect: one `sysctl` of the
namespace: what is the measured limit is raised; what this capability raised is lowered under memory
pressure; a congestion control is chosen by what it achieves. Verified by the speed or the delay of
live connections; undone to exactly the text that stood there. Where the agent may not write, its
finding says what to run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Seen, Sight, Switch, Tools
from optimizers.knob_effects import HIGHER_IS_BETTER, SWITCH_SETTLE_S, KnobEffects
from optimizers.performance.priors import estimate_of, prior_of
from optimizers.performance.tcp_tuning_diagnosis import LOSS_OVER, RULES, Limit, Rule, shown
from optimizers.performance.tcp_tuning_remedies import (
    GOODPUT,
    INCOMING,
    TYPE,
    Case,
    Remedy,
    chosen_for_loss,
    remedy_for,
)
from optimizers.plugins import PluginContext
from optimizers.targets.base import Guard
from optimizers.targets.network_facts import NetworkFacts, namespaces_of
from optimizers.targets.network_knobs import assignment
from optimizers.view import View
from registry.agent_records import Action, Effect, Finding, Priority, Proposal, Severity

_MARGIN_S = 120.0
# Windows are filled before and after, and each may take twice as long when samples are missing.
_LONGEST_WINDOWS = 4.0
_ADVICE = {
    Limit.PEER: "raise net.ipv4.tcp_rmem there",
    Limit.LISTEN: "its server asks for a short queue: raise the backlog it listens with",
    Limit.SYN: "the queue is as long as the backlog of the listening socket",
}


class TcpTuning:
    """Turns the TCP settings of network namespaces."""

    type = TYPE

    def __init__(self, settings: Settings) -> None:
        own = settings.performance.tcp_tuning
        self._settings = own
        self.targets = tuple(f"network-{name}" for name in namespaces_of(own)) or ("network",)
        self.target = self.targets[0]
        self.prior = prior_of(own)
        self.effects: Effects = TcpEffects(settings)
        agent = settings.agent
        self.deadline_s = agent.settle_seconds + _LONGEST_WINDOWS * agent.verify_seconds + _MARGIN_S

    def detect(self, view: View) -> Sequence[Finding]:
        """What holds each namespace back."""
        return [
            self._finding(case, rule, view)
            for case, rule in self._cases(view)
            if shown(rule, view, case.target, self._settings) is not None
        ]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """The one change that would help, where the agent may make it."""
        facts = view.facts.get(finding.target)
        if not isinstance(facts, NetworkFacts) or not facts.writable:
            return []
        case = Case(Limit(finding.subject), finding.target, facts, view, self._settings)
        remedy = remedy_for(case)
        return [] if remedy is None else [self._proposal(case, remedy, finding)]

    def _cases(self, view: View) -> Iterator[tuple[Case, Rule]]:
        for target in self.targets:
            facts = view.facts.get(target)
            if not isinstance(facts, NetworkFacts):
                continue
            for rule in RULES:
                yield Case(rule.limit, target, facts, view, self._settings), rule
            case = Case(Limit.LOSS_OVER, target, facts, view, self._settings)
            if chosen_for_loss(case) is not None:
                yield case, LOSS_OVER

    def _finding(self, case: Case, rule: Rule, view: View) -> Finding:
        found = shown(rule, view, case.target, self._settings)
        assert found is not None
        sustained, text = found
        info = case.limit in {Limit.LOSS_OVER, Limit.PEER}
        return Finding(
            id=f"{TYPE}:{case.target}:{case.limit}",
            rule=TYPE,
            target=case.target,
            subject=case.limit.value,
            severity=Severity.INFO if info else Severity.WARNING,
            text=text + _advice(case),
            at=view.at,
            metrics={rule.metric: sustained.last},
        )

    def _proposal(self, case: Case, remedy: Remedy, finding: Finding) -> Proposal:
        change = remedy.change
        cause = (change.knob, str(change.before), str(change.after), case.limit.value)
        return Proposal(
            type=TYPE,
            target=case.target,
            advice_id=advice_id(TYPE, case.target, *cause),
            key=f"{TYPE}:{case.target}:{':'.join(cause)}:{int(case.view.at)}",
            priority=Priority.HIGH if case.limit is Limit.MEMORY else Priority.MEDIUM,
            description=f"{remedy.description} ({case.target})",
            parameters={"limit": case.limit.value, "pairs": remedy.pairs},
            expected=estimate_of(self._settings),
            risk=self.prior.risk,
            goal_metric=remedy.goal,
            goal_direction=remedy.direction,
            reversible=True,
            change=change,
            guardrails=remedy.guardrails,
            # Both ends of a connection may be looked after here: what one does, the other sees.
            conflicts=("network",),
            finding_ids=(finding.id,),
        )


def _advice(case: Case) -> str:
    """What a person could do, where the agent cannot."""
    remedy = remedy_for(case)
    if remedy is not None and not case.facts.writable:
        command = case.facts.command(assignment(remedy.change.knob, str(remedy.change.after)))
        return f"; the agent may not change it, so run as root: {command}"
    advice = _ADVICE.get(case.limit) if remedy is None else None
    return f"; {advice}" if advice else ""


class TcpEffects:
    """Changes a knob of a namespace, and measures it in pairs or windows as its proposal says."""

    def __init__(self, settings: Settings) -> None:
        self._pairs = _effects(settings, pairs=True)
        self._windows = _effects(settings, pairs=False)

    def look(self, action: Action, tools: Tools) -> Seen:
        """Read the knob."""
        return self._of(action).look(action, tools)

    def prepare(self, action: Action, tools: Tools) -> Mapping[str, JsonValue] | None:
        """Sample what is without the change."""
        return self._of(action).prepare(action, tools)

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        """Set the knob."""
        return self._of(action).apply(action, guard, tools)

    def verify(self, action: Action, tools: Tools) -> Effect | Switch | None:
        """Sample with the change, and judge."""
        return self._of(action).verify(action, tools)

    def switch(self, action: Action, to: Sight, guard: Guard, tools: Tools) -> None:
        """Set the knob to one of its two values while it is measured."""
        self._of(action).switch(action, to, guard, tools)

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """Set the knob back."""
        self._of(action).undo(action, guard, tools)

    def _of(self, action: Action) -> KnobEffects:
        return self._pairs if action.proposal.parameters.get("pairs") is True else self._windows


def _effects(settings: Settings, *, pairs: bool) -> KnobEffects:
    agent = settings.agent
    every_s = agent.verify_seconds / agent.verify_samples / (2 if pairs else 1)
    return KnobEffects(
        samples=agent.verify_samples,
        every_s=every_s,
        alpha=agent.verify_alpha,
        higher_is_better=HIGHER_IS_BETTER | {GOODPUT, INCOMING},
        pairs=pairs,
        switch_settle_s=min(SWITCH_SETTLE_S, every_s / 2),
    )


def make(context: PluginContext) -> TcpTuning:
    """Entry point `tcp_tuning`.

    Raises:
        ConfigError: a namespace's name cannot be used.
    """
    return TcpTuning(context.settings)
