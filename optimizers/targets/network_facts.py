"""What a network target knows besides numbers; the capability that tunes it reads it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.errors import ConfigError
from config.performance_settings import TcpSettings

# As a target's name and a command line can carry it.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """A namespace as it was seen.

    Attributes:
        namespace: its name as in `ip netns`; None for the agent's own.
        values: its knobs and their values.
        algorithms: the congestion controls that may be set in it.
        writable: whether the agent may write its settings.
        syn_cookies: whether the kernel can do without a queue of first packets.
        clamped: listening sockets that let as many connections wait as the namespace allows: they
            asked for as many or more.
    """

    namespace: str | None
    values: Mapping[str, str] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ()
    writable: bool = False
    syn_cookies: bool = True
    clamped: tuple[str, ...] = ()

    def command(self, arguments: str) -> str:
        """The `sysctl -w` command line for this namespace."""
        command = f"sysctl -w {arguments}"
        return command if self.namespace is None else f"ip netns exec {self.namespace} {command}"


def namespaces_of(settings: TcpSettings) -> tuple[str, ...]:
    """The namespaces that the settings name, each once.

    Raises:
        ConfigError: one of the names cannot be used.
    """
    for name in settings.namespaces:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"performance.tcp_tuning.namespaces names {name!r}; a namespace that is looked "
                "after has lower case, digits, '.', '_' and '-' in its name"
            )
    return tuple(dict.fromkeys(settings.namespaces))
