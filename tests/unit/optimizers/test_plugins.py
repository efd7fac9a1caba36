"""Plugins are found by name; unknown names stop the start, broken plugins do not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import ConfigError
from config.settings import Settings
from optimizers.models.model_tools import ModelTools
from optimizers.notifications.log import LogNotifier
from optimizers.plugins import (
    NOTIFIERS,
    OPTIMIZERS,
    TARGETS,
    Entry,
    PluginContext,
    known_names,
    load_all,
    load_capabilities,
    load_notifiers,
    load_targets,
)
from optimizers.targets.base import Observed, ObserveOnly


@dataclass(frozen=True)
class Plugin:
    """An entry point of a plugin that is not installed."""

    name: str
    factory: Callable[[PluginContext], object]
    value: str = "somewhere:make"

    def load(self) -> Callable[[PluginContext], object]:
        return self.factory


class Still(ObserveOnly):
    def __init__(self, name: str) -> None:
        self.name = name

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        return Observed()


def installed(*plugins: Plugin) -> Callable[[str], Iterable[Entry]]:
    return lambda _group: plugins


def context(**agent: object) -> PluginContext:
    settings = Settings.model_validate({"agent": agent})
    return PluginContext(settings, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))


def broken(_context: PluginContext) -> object:
    raise ImportError("no module named 'snake'")


def test_without_names_all_that_is_installed_is_used() -> None:
    find = installed(Plugin("b", lambda _: Still("b")), Plugin("a", lambda _: Still("a")))
    assert sorted(load_targets(context(), find).parts) == ["a", "b"]


def test_with_names_only_those_are_used() -> None:
    find = installed(Plugin("b", lambda _: Still("b")), Plugin("a", broken))
    loaded = load_targets(context(targets=["b"]), find)
    assert list(loaded.parts) == ["b"]
    assert loaded.broken == ()


@pytest.mark.parametrize(
    ("load", "setting"),
    [(load_targets, "targets"), (load_capabilities, "capabilities"), (load_notifiers, "notifiers")],
)
def test_an_unknown_name_is_an_error_that_lists_the_known(
    load: Callable[..., object], setting: str
) -> None:
    find = installed(Plugin("b", broken), Plugin("a", broken))
    with pytest.raises(ConfigError, match=f"agent.{setting} names wrong.*known are: a, b"):
        load(context(**{setting: ["wrong"]}), find)


def test_no_notifier_is_used_that_is_not_named() -> None:
    find = installed(Plugin("log", lambda _: LogNotifier()))
    assert load_notifiers(context(notifiers=[]), find).parts == {}
    assert list(load_notifiers(context(), find).parts) == ["log"]


def exits(_context: PluginContext) -> object:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        (broken, "no module named 'snake'"),
        (exits, "SystemExit"),
        (lambda _: object(), "which is no Target"),
        (lambda _: None, "which is no Target"),
        (lambda _: Still(""), "the name of what it made is ''"),
        (lambda _: [Still("x"), Still("x")], "x is there already"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_work(
    factory: Callable[[PluginContext], object], why: str
) -> None:
    find = installed(Plugin("bad", factory), Plugin("good", lambda _: Still("good")))
    loaded = load_targets(context(), find)
    assert list(loaded.parts) == ["good"]
    assert [one.name for one in loaded.broken] == ["bad"]
    assert why in loaded.broken[0].reason


def test_a_secret_in_the_error_of_a_plugin_is_not_told() -> None:
    def leaks(_context: PluginContext) -> object:
        raise ValueError("cannot reach http://me:hunter2@db/")

    loaded = load_targets(context(), installed(Plugin("bad", leaks)))
    assert "hunter2" not in loaded.broken[0].reason


def test_a_setting_that_a_plugin_needs_and_lacks_stops_the_start() -> None:
    def needs(_context: PluginContext) -> object:
        raise ConfigError("agent.webhook_url is not set")

    with pytest.raises(ConfigError, match="webhook_url"):
        load_targets(context(), installed(Plugin("needs", needs)))


def test_a_plugin_may_make_several_or_none() -> None:
    several = Plugin("several", lambda _: [Still("one"), Still("two")])
    none = Plugin("none", lambda _: [])
    loaded = load_targets(context(), installed(several, none))
    assert list(loaded.parts) == ["one", "two"]
    assert loaded.broken == ()


def test_nobody_can_take_the_place_of_a_built_in_one() -> None:
    ours = Plugin("host", lambda _: Still("host"), "optimizers.targets.builtin:host")
    theirs = Plugin("aaa", lambda _: Still("host"), "intruder:make")
    loaded = load_targets(context(), installed(theirs, ours))
    assert list(loaded.parts) == ["host"]
    assert [one.name for one in loaded.broken] == ["aaa"]


def test_the_built_in_ones_are_installed() -> None:
    models = ("benchmark", "deploy", "promote", "retire", "retrain", "rollback", "update")
    types = {"ab_test", *(f"model_{name}" for name in models)}
    assert set(known_names(OPTIMIZERS)) >= types
    assert set(known_names(TARGETS)) >= {
        "host",
        "mlflow",
        "models",
        "network",
        "prefect",
        "prometheus",
        "registry",
        "serving",
    }
    assert set(known_names(NOTIFIERS)) >= {"log", "webhook"}


def test_every_built_in_one_loads_where_its_servers_are_known() -> None:
    urls = dict.fromkeys(("mlflow", "predictor"), "http://127.0.0.1:9")
    settings = Settings.model_validate(
        {
            "agent": {
                "notifiers": ["log", "webhook"],
                "webhook_url": "https://hooks.example/abc",
                "targets": known_names(TARGETS),
            },
            "prometheus": [{"name": "shop", "url": "http://127.0.0.1:9", "queries": {}}],
        }
    )
    nothing: Any = object()
    everything = PluginContext(
        settings,
        ManualClock(datetime(2026, 1, 1, tzinfo=UTC)),
        urls | {"prefect": "http://127.0.0.1:9/api"},
        {"models": ModelTools(nothing, settings, nothing), "run_states": lambda _ids: {}},
    )
    loaded = load_all(everything)
    assert loaded.broken == ()
    assert set(loaded.targets) == {
        "host",
        "mlflow",
        "models",
        "network",
        "prefect",
        "registry",
        "replicas",
        "serving",
        "shop",
    }
    assert set(loaded.capabilities) == set(known_names(OPTIMIZERS))
    assert all(name == one.type for name, one in loaded.capabilities.items())
    assert set(loaded.notifiers) == {"log", "webhook"}


def test_without_servers_only_the_machine_is_looked_at() -> None:
    assert list(load_targets(context()).parts) == ["host", "network"]


def test_a_webhook_without_an_address_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"agent\.webhook_url is not set"):
        load_notifiers(context(notifiers=["webhook"]))


def test_loading_everything_imports_nothing_heavy() -> None:
    script = (
        "import sys; from config.clock import SystemClock; from config.settings import Settings;"
        "from optimizers.plugins import PluginContext, load_all;"
        "urls = dict.fromkeys(('mlflow', 'predictor', 'prefect'), 'http://127.0.0.1:9');"
        "assert not load_all(PluginContext(Settings(), SystemClock(), urls)).broken;"
        "print({'mlflow', 'scipy', 'onnxruntime', 'prefect', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"
