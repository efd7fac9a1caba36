"""One run of `prime-spark up`, from the lock on the home to the last process gone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from config.clock import Clock
from config.paths import Home
from config.settings import Settings
from flows.up import services as catalogue
from flows.up.demo_home import empty
from flows.up.environment import child_environment
from flows.up.lock import Running, sole_run, write_running
from flows.up.plan import held_ports, resolved, services_of, urls_of
from flows.up.screen import Screen, ServiceState
from flows.up.session import UpSession, Urls
from flows.up.signals import StopSignals
from flows.up.story import StoryThread
from flows.up.supervisor import PortLost, ServiceFailed, Supervisor
from flows.up.sweep import home_mark, new_up_id, sweep

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_LOOP_S = 0.1
_PORT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How to run.

    Attributes:
        settings: all settings; with `demo`, those of the demo's own home.
        config_file: the user's settings file, handed on to everything started.
        environment: the environment to start from.
        demo: tell the story.
        exit_after: end after the story instead of staying up.
    """

    settings: Settings
    config_file: Path | None
    environment: Mapping[str, str]
    demo: bool = False
    exit_after: bool = False


def run_up(options: UpOptions, screen: Screen, clock: Clock) -> int:
    """Start everything, stay until asked to stop, and leave nothing behind.

    Returns:
        the exit code: 0 after an orderly stop, 1 if a server or the story failed, 130 if a story
        that was to be told to its end was interrupted.

    Raises:
        ConflictError: another run holds the home, or a port that was set is taken.
        ConfigError: the home cannot be used.
    """
    home = options.settings.home_dir.create()
    signals = StopSignals()
    with signals.installed(), sole_run(home):
        leftovers = sweep(home_mark(home.root))
        if leftovers:
            screen.line(f"ended {leftovers} processes that an earlier run had left behind")
        if options.demo:
            empty(home)
        ending = _attempt(options, screen, clock, signals)
        for line in ending.reason.splitlines():
            screen.line(line)
        return ending.code


@dataclass(frozen=True, slots=True)
class _Ending:
    code: int
    reason: str = ""


def _attempt(options: UpOptions, screen: Screen, clock: Clock, signals: StopSignals) -> _Ending:
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            return _run_once(options, screen, clock, signals)
        except PortLost as error:
            if attempt == _PORT_ATTEMPTS or _ports_are_set(options.settings):
                return _Ending(EXIT_FAILED, str(error))
            screen.line("a port was taken by another program; starting again on other ports")
        except ServiceFailed as error:
            return _Ending(EXIT_FAILED, str(error))
    return _Ending(EXIT_FAILED)


def _ports_are_set(settings: Settings) -> bool:
    return bool(settings.ports.prefect or settings.ports.mlflow or settings.serving.port)


def _run_once(options: UpOptions, screen: Screen, clock: Clock, signals: StopSignals) -> _Ending:
    settings = options.settings
    home = settings.home_dir
    up_id = new_up_id(home.root)
    with held_ports(settings) as ports, _watchdog(up_id, home):
        urls = urls_of(settings, ports)
        environment = child_environment(
            options.environment, settings, urls, up_id=up_id, config_file=options.config_file
        )
        write_running(home, Running(os.getpid(), up_id))
        supervisor = Supervisor(
            screen=screen,
            clock=clock,
            environment=environment,
            logs=home.logs,
            folder=home.run,
        )
        _show_external(settings, screen)
        try:
            if not supervisor.start(services_of(settings, ports, urls, up_id), signals.requested):
                return _interrupted(options)
            write_running(home, Running(os.getpid(), up_id, urls))
            screen.links(_links(urls, home))
            session = UpSession(resolved(settings, urls), urls, environment)
            return _stay(options, session, supervisor, screen, signals)
        finally:
            supervisor.stop(signals.hurry)
            sweep(up_id, term_grace_s=0.5)


def _stay(
    options: UpOptions,
    session: UpSession,
    supervisor: Supervisor,
    screen: Screen,
    signals: StopSignals,
) -> _Ending:
    if not options.demo:
        screen.line("all servers answer; Ctrl-C stops them")
        _watch(supervisor, signals.requested)
        return _Ending(EXIT_OK)
    story = StoryThread(session, screen)
    story.start()
    try:
        _watch(supervisor, lambda: signals.requested() or story.result is not None)
        result = story.result
        if result is None:
            return _interrupted(options)
        if not result.ok:
            reason = f"the story did not come out as told: {result.reason}"
            return _Ending(EXIT_FAILED, reason)
        if not options.exit_after:
            for line in _after_the_story(options.settings.home_dir):
                screen.line(line)
            _watch(supervisor, signals.requested)
        return _Ending(EXIT_OK)
    finally:
        story.stop()


def _watch(supervisor: Supervisor, ended: Callable[[], bool]) -> None:
    while not ended():
        supervisor.watch()
        time.sleep(_LOOP_S)


def _interrupted(options: UpOptions) -> _Ending:
    if options.exit_after:
        return _Ending(EXIT_INTERRUPTED, "interrupted before the story's end")
    return _Ending(EXIT_OK)


def _after_the_story(home: Home) -> tuple[str, ...]:
    return (
        "the story is told; everything stays up until Ctrl-C. In another terminal:",
        f"export PRIME_SPARK_HOME={home.root}",
        "prime-spark versions digits; prime-spark experiments; prime-spark history digits",
    )


def _links(urls: Urls, home: Home) -> dict[str, str]:
    links = {"Prefect UI": urls.prefect, "MLflow UI": urls.mlflow, "Predictor": urls.predictor}
    api = catalogue.api_url(home)
    return links | {"Agent API": api} if api else links


def _show_external(settings: Settings, screen: Screen) -> None:
    if settings.prefect.api_url:
        screen.service(catalogue.PREFECT, ServiceState.EXTERNAL, note="as set by prefect.api_url")
    if settings.mlflow.tracking_uri:
        note = "as set by mlflow.tracking_uri"
        screen.service(catalogue.MLFLOW, ServiceState.EXTERNAL, note=note)


@contextlib.contextmanager
def _watchdog(up_id: str, home: Home) -> Iterator[None]:
    """Keep a process that outlives a sudden death of this one and then cleans up."""
    process = subprocess.Popen(
        catalogue.python("-m", "flows.up.watchdog", up_id),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home.run,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.communicate()
