"""Finds targets, capabilities and notifiers by name: our own and other people's, the same way.

Each is an entry point of its group, naming a factory: a function that takes a PluginContext and
returns one of them, several, or none where there is nothing to work with. The settings name entry
points. An unknown name is an error at start; a plugin that fails to load is reported and left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeGuard, TypeVar

from config.clock import Clock
from config.errors import ConfigError
from config.redaction import redact
from config.settings import Settings
from optimizers.capability import Capability
from optimizers.notifications.base import Notifier
from optimizers.targets.base import Target

logger = logging.getLogger("prime_spark.plugins")

T = TypeVar("T")

OPTIMIZERS = "prime_spark.optimizers"
TARGETS = "prime_spark.targets"
NOTIFIERS = "prime_spark.notifiers"


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What a factory may use.

    Attributes:
        addresses: URLs of the servers that are known, by name: `predictor`, `mlflow`, `prefect`
            (its API). One that is not known is left out.
        extras: more by name, for the built-in ones that know them.
    """

    settings: Settings
    clock: Clock
    addresses: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, object] = field(default_factory=dict)


class Entry(Protocol):
    """An entry point, as `importlib.metadata` has them."""

    @property
    def name(self) -> str:
        """As in the settings."""
        ...

    @property
    def value(self) -> str:
        """Where its factory is: `module:function`."""
        ...

    def load(self) -> Callable[[PluginContext], object]:
        """Import the factory."""
        ...


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin that is left out, and why in a sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """What was loaded, by its own name or type, and what could not be."""

    parts: Mapping[str, T]
    broken: Sequence[BrokenPlugin] = ()


@dataclass(frozen=True, slots=True)
class Installed:
    """Everything in use: targets and notifiers by name, capabilities by action type."""

    targets: Mapping[str, Target]
    capabilities: Mapping[str, Capability]
    notifiers: Mapping[str, Notifier]
    broken: Sequence[BrokenPlugin] = ()


Find = Callable[[str], Iterable[Entry]]


def _installed(group: str) -> Iterable[Entry]:
    return entry_points(group=group)


def load_all(context: PluginContext, find: Find = _installed) -> Installed:
    """Load everything that the settings name.

    Raises:
        ConfigError: a name is unknown, or a setting that one of them needs is wrong.
    """
    targets = load_targets(context, find)
    capabilities = load_capabilities(context, find)
    notifiers = load_notifiers(context, find)
    broken = (*targets.broken, *capabilities.broken, *notifiers.broken)
    return Installed(targets.parts, capabilities.parts, notifiers.parts, broken)


def load_targets(context: PluginContext, find: Find = _installed) -> Loaded[Target]:
    """Load the targets that `agent.targets` names, or all that are installed.

    Raises:
        ConfigError: a name is unknown, or a setting that a target needs is wrong.
    """
    chosen = _chosen(TARGETS, "agent.targets", context.settings.agent.targets, find)
    return _load(chosen, context, _Kind("Target", _is_target, "name"))


def load_capabilities(context: PluginContext, find: Find = _installed) -> Loaded[Capability]:
    """Load the capabilities that `agent.capabilities` names, or all that are installed.

    Raises:
        ConfigError: a name is unknown, or a setting that a capability needs is wrong.
    """
    names = context.settings.agent.capabilities
    chosen = _chosen(OPTIMIZERS, "agent.capabilities", names, find)
    return _load(chosen, context, _Kind("Capability", _is_capability, "type"))


def load_notifiers(context: PluginContext, find: Find = _installed) -> Loaded[Notifier]:
    """Load the notifiers that `agent.notifiers` names; none when it names none.

    Raises:
        ConfigError: a name is unknown, or a setting that a notifier needs is wrong.
    """
    names = context.settings.agent.notifiers
    chosen = _chosen(NOTIFIERS, "agent.notifiers", names, find) if names else []
    return _load(chosen, context, _Kind("Notifier", _is_notifier, "name"))


def known_names(group: str, find: Find = _installed) -> tuple[str, ...]:
    """The names that settings may use for a group, sorted."""
    return tuple(sorted({entry.name for entry in find(group)}))


def _chosen(group: str, setting: str, names: Sequence[str], find: Find) -> list[Entry]:
    """The entry points that are wanted, our own first, each once."""
    found = sorted(set(find(group)), key=lambda entry: (not _is_ours(entry), entry.name))
    known = {entry.name for entry in found}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"{setting} names {', '.join(unknown)}, which is not installed; "
            f"known are: {', '.join(sorted(known)) or 'none'}"
        )
    return [entry for entry in found if not names or entry.name in names]


def _is_ours(entry: Entry) -> bool:
    return entry.value.startswith("optimizers.")


def _is_target(part: object) -> TypeGuard[Target]:
    return isinstance(part, Target)


def _is_capability(part: object) -> TypeGuard[Capability]:
    return isinstance(part, Capability)


def _is_notifier(part: object) -> TypeGuard[Notifier]:
    return isinstance(part, Notifier)


@dataclass(frozen=True, slots=True)
class _Kind(Generic[T]):
    """What the plugins of a group make, how it is known, and the attribute that names it."""

    name: str
    known_by: Callable[[object], TypeGuard[T]]
    named_by: str


def _load(entries: Iterable[Entry], context: PluginContext, kind: _Kind[T]) -> Loaded[T]:
    parts: dict[str, T] = {}
    broken: list[BrokenPlugin] = []
    for entry in entries:
        try:
            made = list(_made(entry, context, kind))
            _add(parts, made)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may be anybody's: a broken one must not stop the others
            reason = redact(f"{entry.value}: {type(error).__name__}: {error}")
            broken.append(BrokenPlugin(entry.name, reason))
            logger.warning("plugin %s is left out: %s", entry.name, reason)
    return Loaded(parts, tuple(broken))


def _made(entry: Entry, context: PluginContext, kind: _Kind[T]) -> Iterator[tuple[str, T]]:
    """What a factory returns, checked and under its name."""
    factory = entry.load()
    if not callable(factory):
        raise TypeError("the entry point does not name a function")
    result = factory(context)
    for part in result if isinstance(result, list | tuple) else (result,):
        if not kind.known_by(part):
            raise TypeError(f"it made {type(part).__name__}, which is no {kind.name}")
        name = getattr(part, kind.named_by)
        if not isinstance(name, str) or not name:
            raise TypeError(f"the {kind.named_by} of what it made is {name!r}")
        yield name, part


def _add(parts: dict[str, T], made: Sequence[tuple[str, T]]) -> None:
    """Add all that a plugin made, or nothing."""
    names = [name for name, _ in made]
    taken = [name for i, name in enumerate(names) if name in parts or name in names[:i]]
    if taken:
        raise ValueError(f"{taken[0]} is there already; give yours a name of its own")
    parts.update(made)
