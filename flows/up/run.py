"""One run of `prime-spark up`, from the lock on the home to the last process gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.clock import Clock
from config.errors import ConflictError
from config.paths import Home
from config.settings import Settings
from flows.up import services as catalogue
from flows.up.environment import child_environment
from flows.up.lock import Running, sole_run, write_running
from flows.up.ports import HeldPort, hold_port
from flows.up.screen import Screen, ServiceState
from flows.up.services import Plan, Service
from flows.up.session import UpSession, Urls
from flows.up.signals import StopSignals
from flows.up.story import StoryThread
from flows.up.supervisor import PortLost, ServiceFailed, Supervisor
from flows.up.sweep import home_mark, new_up_id, sweep

EXIT_OK = 0
EXIT_FAILED = 1
_LOOP_S = 0.1
_PORT_ATTEMPTS = 3
_DEMO_MARK = ".prime-spark-demo"


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
        the exit code: 0 after an orderly stop, 1 if a server or the story failed.

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
            _empty(home)
        return _attempt(options, screen, clock, signals)


def _attempt(options: UpOptions, screen: Screen, clock: Clock, signals: StopSignals) -> int:
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            return _run_once(options, screen, clock, signals)
        except PortLost as error:
            if attempt == _PORT_ATTEMPTS or _ports_are_set(options.settings):
                return _report(screen, str(error))
            screen.line("a port was taken by another program; starting again on other ports")
        except ServiceFailed as error:
            return _report(screen, str(error))
    return EXIT_FAILED


def _report(screen: Screen, reason: str) -> int:
    for line in reason.splitlines():
        screen.line(line)
    return EXIT_FAILED


def _ports_are_set(settings: Settings) -> bool:
    return bool(settings.ports.prefect or settings.ports.mlflow or settings.serving.port)


def _run_once(options: UpOptions, screen: Screen, clock: Clock, signals: StopSignals) -> int:
    settings = options.settings
    home = settings.home_dir
    up_id = new_up_id(home.root)
    with _held_ports(settings) as ports, _watchdog(up_id, home):
        plan = _plan(options, ports, up_id)
        write_running(home, Running(os.getpid(), up_id))
        supervisor = Supervisor(
            screen=screen,
            clock=clock,
            environment=plan.environment,
            logs=home.logs,
            folder=home.run,
        )
        _show_external(settings, screen)
        try:
            if not supervisor.start(plan.services, signals.requested):
                return EXIT_OK
            write_running(home, Running(os.getpid(), up_id, plan.urls))
            screen.links(_links(plan.urls))
            return _stay(options, plan, supervisor, screen, signals)
        finally:
            supervisor.stop(signals.hurry)
            sweep(up_id, term_grace_s=0.5)


def _stay(
    options: UpOptions,
    plan: Plan,
    supervisor: Supervisor,
    screen: Screen,
    signals: StopSignals,
) -> int:
    session = UpSession(_resolved(options.settings, plan.urls), plan.urls, plan.environment)
    story = StoryThread(session, screen) if options.demo else None
    if story is not None:
        story.start()
    else:
        screen.line("all servers answer; Ctrl-C stops them")
    told = False
    try:
        while not signals.requested():
            supervisor.watch()
            if story is not None and story.result is not None and not told:
                told = True
                if not story.result.ok or options.exit_after:
                    break
                screen.line("the story is told; Ctrl-C stops the servers")
            time.sleep(_LOOP_S)
    finally:
        if story is not None:
            story.stop()
    return _outcome(story, screen)


def _outcome(story: StoryThread | None, screen: Screen) -> int:
    if story is None or story.result is None or story.result.ok:
        return EXIT_OK
    return _report(screen, f"the story did not come out as told: {story.result.reason}")


def _links(urls: Urls) -> dict[str, str]:
    return {"Prefect UI": urls.prefect, "MLflow UI": urls.mlflow, "Predictor": urls.predictor}


def _resolved(settings: Settings, urls: Urls) -> Settings:
    port = int(urls.predictor.rpartition(":")[2])
    return settings.model_copy(
        update={
            "mlflow": settings.mlflow.model_copy(update={"tracking_uri": urls.mlflow}),
            "prefect": settings.prefect.model_copy(update={"api_url": urls.prefect_api}),
            "serving": settings.serving.model_copy(update={"port": port}),
        }
    )


def _show_external(settings: Settings, screen: Screen) -> None:
    if settings.prefect.api_url:
        screen.service(catalogue.PREFECT, ServiceState.EXTERNAL, note="as set by prefect.api_url")
    if settings.mlflow.tracking_uri:
        note = "as set by mlflow.tracking_uri"
        screen.service(catalogue.MLFLOW, ServiceState.EXTERNAL, note=note)


@dataclass(frozen=True, slots=True)
class _Ports:
    prefect: HeldPort
    mlflow: HeldPort
    predictor: HeldPort


@contextlib.contextmanager
def _held_ports(settings: Settings) -> Iterator[_Ports]:
    host = settings.serving.host
    wanted: Sequence[tuple[int, str]] = (
        (settings.ports.prefect, "ports.prefect"),
        (settings.ports.mlflow, "ports.mlflow"),
        (settings.serving.port, "serving.port"),
    )
    with contextlib.ExitStack() as stack:
        held = []
        for number, setting in wanted:
            held.append(hold_port(number, host=host, setting=setting))
            stack.callback(held[-1].release)
        yield _Ports(*held)


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


def _plan(options: UpOptions, ports: _Ports, up_id: str) -> Plan:
    settings = options.settings
    urls = _urls(settings, ports)
    environment = child_environment(
        options.environment, settings, urls, up_id=up_id, config_file=options.config_file
    )
    return Plan(tuple(_services(settings, ports, urls, up_id)), environment, urls)


def _urls(settings: Settings, ports: _Ports) -> Urls:
    host = settings.serving.host
    prefect = f"http://{host}:{ports.prefect.number}"
    api = (settings.prefect.api_url or f"{prefect}/api").rstrip("/")
    return Urls(
        prefect=api.removesuffix("/api"),
        prefect_api=api,
        mlflow=(settings.mlflow.tracking_uri or f"http://{host}:{ports.mlflow.number}").rstrip("/"),
        predictor=f"http://{host}:{ports.predictor.number}",
    )


def _services(settings: Settings, ports: _Ports, urls: Urls, up_id: str) -> Iterator[Service]:
    own_prefect, own_mlflow = not settings.prefect.api_url, not settings.mlflow.tracking_uri
    if own_prefect:
        yield catalogue.prefect_server(settings, ports.prefect.number)
    if own_mlflow:
        yield catalogue.mlflow_server(settings, ports.mlflow.number)
    yield catalogue.predictor(settings, ports.predictor.number)
    yield catalogue.deployments((catalogue.PREFECT,) if own_prefect else ())
    yield catalogue.worker(settings, urls.prefect_api, up_id)
    yield catalogue.wake(
        (catalogue.DEPLOYMENTS, catalogue.MLFLOW) if own_mlflow else (catalogue.DEPLOYMENTS,)
    )


def _empty(home: Home) -> None:
    """Empty the demo's home, which is made for each run; anything else is left alone.

    Raises:
        ConflictError: the directory holds files that no demo has made.
    """
    mark = home.root / _DEMO_MARK
    made_by_create = {home.logs, home.run, home.secrets, home.model_cache}
    others = [entry for entry in home.root.iterdir() if entry not in made_by_create]
    if others and not mark.exists():
        raise ConflictError(
            f"{home.root} holds files that are not the demo's; move them away, or set "
            "PRIME_SPARK_HOME to another directory"
        )
    mark.touch(mode=0o600)
    for entry in home.root.iterdir():
        if entry in (home.run, mark):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    home.create()
