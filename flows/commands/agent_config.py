"""What `config check` asks beyond the shape of the settings: names, windows, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.errors import ConfigError

if TYPE_CHECKING:
    from config.settings import Settings


def check_agent(settings: Settings) -> None:
    """Do nothing if the agent and its API could start with these settings.

    Raises:
        ConfigError: a plugin is not installed, a maintenance window cannot be read, the API would
            be open to others, a file that is named is not there, or two of a kind share a name.
    """
    from optimizers.maintenance import parse_windows
    from optimizers.plugins import NOTIFIERS, OPTIMIZERS, TARGETS
    from serving.api.gate import refuse_exposure

    agent = settings.agent
    _installed("agent.targets", TARGETS, agent.targets)
    _installed("agent.capabilities", OPTIMIZERS, agent.capabilities)
    _installed("agent.notifiers", NOTIFIERS, agent.notifiers)
    parse_windows(agent.maintenance_windows)
    refuse_exposure(settings.api)
    for name, file in (
        ("api.tls_certificate", settings.api.tls_certificate),
        ("api.tls_key", settings.api.tls_key),
    ):
        if file is not None and not file.expanduser().is_file():
            raise ConfigError(f"{name} names {file}, which is no file; name the file")
    _told_apart("goals", [goal.metric_name for goal in settings.goals])
    _told_apart("prometheus", [one.name for one in settings.prometheus])
    _told_apart("deployment_targets", [one.name for one in settings.deployment_targets])


def _installed(setting: str, group: str, names: tuple[str, ...]) -> None:
    from optimizers.plugins import known_names

    known = known_names(group)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"{setting} names {', '.join(unknown)}, which is not installed; known are: "
            f"{', '.join(known) or 'none'}"
        )


def _told_apart(setting: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{setting} has {', '.join(twice)} twice; give each its own name")
