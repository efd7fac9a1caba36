"""Which one change would help against a limit, and how it would be measured. Pure.

Push: what is the limit is raised, up to a bound. Pull: under memory pressure only what this
capability has raised is lowered, step by step the way it came, and a congestion control that was
chosen for loss has to prove itself again when the loss is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from config.performance_settings import TcpSettings
from optimizers.performance.tcp_tuning_diagnosis import Limit
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
from registry.agent_records import Action, ActionState, Change, Direction

TYPE = "tcp_tuning"

GOODPUT = "goodput_bytes_per_second"
INCOMING = "receive_bytes_per_second"
LATENCY = "network_latency_ms"

# What the kernel itself allows on a machine with memory to spare, bytes
# (https://docs.kernel.org/networking/ip-sysctl.html, tcp_rmem and tcp_wmem).
_USUAL_BYTES = {RMEM: 6 * 1024 * 1024, WMEM: 4 * 1024 * 1024}
_MB = 1_000_000
_INT_MAX = 2**31 - 1
_LONGEST_QUEUE = 65_536
# They take what they are not refused, so queues fill; the others keep to what the path carries.
_LOSS_BASED = frozenset({"cubic", "reno"})
_FIRST_CHOICE = "bbr"
# A round trip this many times the least there was is spent in queues.
_QUEUEING = 2.0
# Of the traffic, the share on connections born since the last look: so many that each switch meets
# new ones; and so few that a change would not be seen within its time.
_OFTEN_NEW = 0.8
_SELDOM_NEW = 0.2
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change, what it is for, and what must not suffer.

    Attributes:
        pairs: whether it is measured by switching to and fro.
    """

    change: Change
    description: str
    goal: str
    direction: Direction
    pairs: bool
    guardrails: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A namespace with a limit: everything a remedy is chosen by."""

    limit: Limit
    target: str
    facts: NetworkFacts
    view: View
    settings: TcpSettings

    def value(self, knob: str) -> str:
        """A knob's present value; empty where the namespace has none of its own."""
        return self.facts.values.get(knob, "")

    def last(self, metric: str) -> float | None:
        """The last value of a metric of the namespace."""
        found = self.view.last(self.target, metric)
        return None if found is None else found.value

    def own_actions(self, state: ActionState) -> Iterator[Action]:
        """Actions of this type on this target that ended so within the last day."""
        for one in self.view.actions:
            at = one.finished_at or one.updated_at
            ours = one.proposal.type == TYPE and one.proposal.target == self.target
            if ours and one.state is state and self.view.at - at <= _DAY_S:
                yield one

    def failed(self, knob: str, after: str) -> bool:
        """Whether this was tried against this limit within the last day, and did not help."""
        return any(
            one.proposal.change is not None
            and one.effect is not None
            and (one.proposal.change.knob, one.proposal.change.after) == (knob, after)
            and one.proposal.parameters.get("limit") == self.limit
            for one in self.own_actions(ActionState.ROLLED_BACK)
        )

    def beaten(self, algorithm: str) -> set[str]:
        """The congestion controls that this one has replaced within the last day."""
        changes = [one.proposal.change for one in self.own_actions(ActionState.COMPLETED)]
        ours = [one for one in changes if one is not None and one.knob == CONGESTION]
        return {str(one.before) for one in ours if one.after == algorithm}


def remedy_for(case: Case) -> Remedy | None:
    """The one change to try against a limit; None when there is none, or all were tried."""
    remedies: Mapping[Limit, Callable[[Case], Remedy | None]] = {
        Limit.MEMORY: _lowered,
        Limit.LOSS: lambda case: _other_algorithm(case, GOODPUT, Direction.MAXIMIZE),
        Limit.LOSS_OVER: _earlier_algorithm,
        Limit.RECEIVE: lambda case: _larger_buffer(case, RMEM, INCOMING),
        Limit.SEND: lambda case: _larger_buffer(case, WMEM, GOODPUT),
        Limit.DELAY: _shorter_delay,
    }
    return remedies.get(case.limit, _longer_queue)(case)


def chosen_for_loss(case: Case) -> Change | None:
    """The change that brought the present congestion control, if it was ours and for loss."""
    for one in case.own_actions(ActionState.COMPLETED):
        change, limit = one.proposal.change, one.proposal.parameters.get("limit")
        if change is None or limit != Limit.LOSS or change.knob != CONGESTION:
            continue
        if change.after == case.value(CONGESTION):
            return change
    return None


def _remedy(case: Case, after: str, what: tuple[str, str], goal: tuple[str, Direction]) -> Remedy:
    """A remedy by a knob that new connections see; `what` is the knob and a description."""
    knob, description = what
    new = case.last("fresh_traffic_share") or 0.0
    return Remedy(
        change=Change(knob, case.value(knob), after),
        description=description,
        goal=goal[0],
        direction=goal[1],
        pairs=new >= _OFTEN_NEW,
        guardrails=_guardrails(case, goal[0]),
    )


def _guardrails(case: Case, goal: str) -> tuple[str, ...]:
    wanted = (GOODPUT,) if goal == LATENCY else ("delayed_traffic_share",)
    known = case.last("memory_pressures_per_second") is not None
    return (*wanted, "memory_pressures_per_second") if known else wanted


def _larger_buffer(case: Case, knob: str, goal: str) -> Remedy | None:
    after = larger(case.value(knob), _USUAL_BYTES[knob], most_bytes(case.settings))
    if after is None or case.failed(knob, after):
        return None
    name = "receive" if knob == RMEM else "send"
    size = int(after.split()[2]) / _MB
    text = f"Let {name} buffers grow to {size:.3g} MB"
    return _remedy(case, after, (knob, text), (goal, Direction.MAXIMIZE))


def most_bytes(settings: TcpSettings) -> int:
    """The largest socket buffer that is ever set, bytes."""
    return min(int(settings.max_buffer_mb * _MB), _INT_MAX)


def larger(value: str, usual: int, most: int) -> str | None:
    """A buffer setting whose largest size is doubled, or brought to the kernel's usual one.

    None when it is no such setting, or is as large as it may be.
    """
    parts = value.split()
    if len(parts) != 3:
        return None
    least, default, largest = (int(one) for one in parts)
    wanted = min(max(2 * largest, usual), most)
    return f"{least}\t{default}\t{wanted}" if wanted > largest else None


def _lowered(case: Case) -> Remedy | None:
    """Take back what was raised last, if it still is as it was left."""
    raised = [one.proposal.change for one in case.own_actions(ActionState.COMPLETED)]
    for change in reversed([one for one in raised if one is not None]):
        before, after = str(change.before), str(change.after)
        ours = change.knob in _USUAL_BYTES and case.value(change.knob) == after
        if ours and _largest(before) < _largest(after) and not case.failed(change.knob, before):
            size = _largest(before) / _MB
            return Remedy(
                change=Change(change.knob, after, before),
                description=f"Take back what {change.knob} was raised to; {size:.3g} MB again",
                goal="tcp_memory_percent",
                direction=Direction.MINIMIZE,
                pairs=False,
            )
    return None


def _largest(value: str) -> int:
    parts = value.split()
    return int(parts[2]) if len(parts) == 3 and parts[2].isdigit() else 0


def _other_algorithm(case: Case, goal: str, direction: Direction) -> Remedy | None:
    """The next to try instead of one that takes loss for congestion."""
    present = case.value(CONGESTION)
    if present not in _LOSS_BASED or not _can_switch(case, present):
        return None
    names = sorted(case.facts.algorithms, key=lambda name: (name != _FIRST_CHOICE, name))
    passed = {present} | case.beaten(present)
    for name in names:
        if name not in passed and not case.failed(CONGESTION, name):
            text = f"Send new connections by {name} instead of {present}"
            return _remedy(case, name, (CONGESTION, text), (goal, direction))
    return None


def _earlier_algorithm(case: Case) -> Remedy | None:
    change = chosen_for_loss(case)
    if change is None or not _can_switch(case, str(change.after)):
        return None
    before = str(change.before)
    if before not in case.facts.algorithms or case.failed(CONGESTION, before):
        return None
    text = (
        f"Send new connections by {before} again: {change.after} was chosen for loss, which is over"
    )
    return _remedy(case, before, (CONGESTION, text), (GOODPUT, Direction.MAXIMIZE))


def _can_switch(case: Case, present: str) -> bool:
    """Whether it could be put back, and new connections come soon enough to show a difference.

    A connection keeps the congestion control that it was born with.
    """
    new = case.last("fresh_traffic_share")
    return present in case.facts.algorithms and new is not None and new >= _SELDOM_NEW


def _shorter_delay(case: Case) -> Remedy | None:
    """Against queues a sender that spares them; on a long way no slow start after a pause."""
    latency, least = case.last(LATENCY), case.last("network_latency_least_ms")
    if latency is None or least is None:
        return None
    if latency >= _QUEUEING * least:
        return _other_algorithm(case, LATENCY, Direction.MINIMIZE)
    long_way = least > case.settings.latency_ms
    if not long_way or case.value(SLOW_START) != "1" or case.failed(SLOW_START, "0"):
        return None
    text = "Let connections go on at full speed after a pause"
    found = _remedy(case, "0", (SLOW_START, text), (GOODPUT, Direction.MAXIMIZE))
    # Running connections see it too.
    return replace(found, pairs=True)


def _longer_queue(case: Case) -> Remedy | None:
    """Twice the queue that is full."""
    match case.limit:
        case Limit.LISTEN if case.facts.clamped:
            knob, goal, pairs = SOMAXCONN, "listen_overflows_per_second", False
            where = ", ".join(case.facts.clamped[:3])
            text = f"Let more connections wait at listening sockets; {where} has to listen anew"
        case Limit.SYN if not case.facts.syn_cookies:
            knob, goal, pairs = SYN_BACKLOG, "syn_drops_per_second", True
            text = "Let more connections that begin wait for their second packet"
        case Limit.DEVICE:
            knob, goal, pairs = DEVICE_BACKLOG, "device_drops_per_second", True
            text = "Let more packets wait between the network card and the kernel"
        case _:
            return None
    present = case.value(knob)
    after = str(min(2 * int(present), _LONGEST_QUEUE)) if present.isdigit() else present
    if not present or int(after) <= int(present) or case.failed(knob, after):
        return None
    return Remedy(Change(knob, present, after), text, goal, Direction.MINIMIZE, pairs)
