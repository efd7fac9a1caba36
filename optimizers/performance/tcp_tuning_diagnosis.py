"""What holds the TCP of a namespace back, as its metrics tell it. Pure.

Each limit is one rule: a metric that lay past a bound in k of the last n looks. Which change would
help is another question (`optimizers.performance.tcp_tuning_remedies`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from config.performance_settings import TcpSettings
from optimizers.performance.trigger import Sustained, sustained
from optimizers.view import View


class Limit(StrEnum):
    """What holds connections back."""

    MEMORY = "memory"
    LOSS = "loss"
    LOSS_OVER = "loss_over"
    RECEIVE = "receive_buffer"
    SEND = "send_buffer"
    PEER = "peer_window"
    DELAY = "delay"
    LISTEN = "listen_queue"
    SYN = "syn_queue"
    DEVICE = "device_queue"


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit, the metric that shows it, and from where on; `text` takes value and bound."""

    limit: Limit
    metric: str
    bound: Callable[[TcpSettings], float]
    text: str
    above: bool = True


# A buffer or window that holds back this much of the time, or of the traffic, is worth a change.
_HELD_BACK = 0.3
_FULL_PERCENT = 100.0

RULES = (
    Rule(
        Limit.MEMORY,
        "tcp_memory_percent",
        lambda _: _FULL_PERCENT,
        "TCP uses {value:.0f} % of the memory from which on the kernel saves",
    ),
    Rule(
        Limit.LOSS,
        "retransmit_share",
        lambda settings: settings.retransmit_share,
        "{value:.1%} of segments are sent again, more than {bound:.1%}",
    ),
    Rule(
        Limit.RECEIVE,
        "receive_limited_share",
        lambda _: _HELD_BACK,
        "{value:.0%} of what comes in fills the largest receive buffer there may be",
    ),
    Rule(
        Limit.SEND,
        "send_limited_share",
        lambda _: _HELD_BACK,
        "sending waits for room in the send buffer in {value:.0%} of its time",
    ),
    Rule(
        Limit.PEER,
        "peer_limited_share",
        lambda _: _HELD_BACK,
        "sending waits for the other side's receive window in {value:.0%} of its time",
    ),
    Rule(
        Limit.DELAY,
        "network_latency_ms",
        lambda settings: settings.latency_ms,
        "a round trip takes {value:.0f} ms, more than {bound:.0f} ms",
    ),
    Rule(
        Limit.LISTEN,
        "listen_overflows_per_second",
        lambda _: 0.0,
        "{value:.2g} connections a second find the queue of a listening socket full",
    ),
    Rule(
        Limit.SYN,
        "syn_drops_per_second",
        lambda _: 0.0,
        "{value:.2g} first packets of connections a second find no room",
    ),
    Rule(
        Limit.DEVICE,
        "device_drops_per_second",
        lambda _: 0.0,
        "{value:.2g} packets a second are dropped between the network card and the kernel",
    ),
)
"""The most pressing first."""

LOSS_OVER = Rule(
    Limit.LOSS_OVER,
    "retransmit_share",
    lambda settings: settings.retransmit_share / 2,
    "only {value:.2%} of segments are sent again now",
    above=False,
)
"""Asked only while the congestion control is one that was chosen for loss."""


def shown(
    rule: Rule, view: View, target: str, settings: TcpSettings
) -> tuple[Sustained, str] | None:
    """How lasting a limit is, and a sentence about it; None when it does not show."""
    bound = rule.bound(settings)

    def met(value: float) -> bool:
        return value > bound if rule.above else value <= bound

    found = sustained(view, (target, rule.metric), settings, met)
    if found is None:
        return None
    return found, rule.text.format(value=found.last, bound=bound)
