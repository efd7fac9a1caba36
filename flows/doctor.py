"""`prime-spark doctor`: looks at everything a run depends on, and says what to do about it.

Each check is a function that returns its findings; a check never raises, and changes nothing.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import metadata

from config.clock import Clock
from config.errors import PrimeSparkError
from config.redaction import redact
from config.settings import Settings
from flows.up.lock import Running, read_running
from flows.up.sweep import home_mark, marked_with

_DISTRIBUTION = "prime-spark"
_LEAST_DISK_BYTES = 1024**3
_LEAST_FILES = 1024
_CLOCK_TOLERANCE_S = 5.0
_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw; a problem has a remedy."""

    check: str
    ok: bool
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: settings as set by the user, who runs on the home, and the time."""

    settings: Settings
    running: Running | None
    clock: Clock


def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Run every check."""
    patient = Patient(settings, read_running(settings.home_dir), clock)
    return [finding for check in CHECKS for finding in check(patient)]


def python_version(_patient: Patient) -> Iterator[Finding]:
    """Python is one that Prime Spark supports."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info >= (3, 11)
    yield Finding("python", ok, f"Python {found}", "" if ok else "install Python 3.11 or newer")


def packages(_patient: Patient) -> Iterator[Finding]:
    """Every dependency is there, in a version that works."""
    remedy = "install the pinned versions: make run, or pip install -r .ci/constraints-run.txt"
    try:
        wanted = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", False, "prime-spark is not installed", remedy)
        return
    problems = [problem for line in wanted if (problem := _package_problem(line))]
    for problem in problems:
        yield Finding("packages", False, problem, remedy)
    if not problems:
        yield Finding("packages", True, f"{len(wanted)} dependencies as required")


def _package_problem(line: str) -> str:
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return ""
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} is {found}; {requirement.specifier} is needed"


def home(patient: Patient) -> Iterator[Finding]:
    """The home directory is ours, closed to others, writable, and has room."""
    root = patient.settings.home_dir.root
    if not root.exists():
        parent = next(folder for folder in root.parents if folder.exists())
        yield _room(parent)
        yield Finding("home", True, f"{root} is made at the first start")
        return
    try:
        patient.settings.home_dir.create()
    except PrimeSparkError as error:
        yield Finding("home", False, str(error), "change its owner, or set PRIME_SPARK_HOME")
        return
    mode = stat.S_IMODE(root.stat().st_mode)
    closed = mode & (stat.S_IRWXG | stat.S_IRWXO) == 0
    text = (
        f"{root} has mode {mode:04o}" if closed else f"{root} is open to others (mode {mode:04o})"
    )
    yield Finding("home", closed, text, "" if closed else f"chmod 700 {root}")
    yield _room(root)


def _room(folder: object) -> Finding:
    free = shutil.disk_usage(str(folder)).free
    ok = free >= _LEAST_DISK_BYTES
    remedy = "" if ok else "free at least 1 GiB, or set PRIME_SPARK_HOME to a larger disk"
    return Finding("disk", ok, f"{free / 1024**3:.1f} GiB free at {folder}", remedy)


def open_files(_patient: Patient) -> Iterator[Finding]:
    """The limit of open files lets a server take more than a handful of connections."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = limit == resource.RLIM_INFINITY or limit >= _LEAST_FILES
    remedy = "" if ok else f"ulimit -n {_LEAST_FILES} before the start"
    yield Finding("open files", ok, f"up to {limit} open files", remedy)


def ports(patient: Patient) -> Iterator[Finding]:
    """Ports that were set are free, or held by our own run."""
    settings = patient.settings
    wanted = {
        "ports.prefect": settings.ports.prefect,
        "ports.mlflow": settings.ports.mlflow,
        "serving.port": settings.serving.port,
    }
    for setting, port in wanted.items():
        if port and patient.running is None:
            yield _port(settings.serving.host, setting, port)
    if not any(wanted.values()):
        yield Finding("ports", True, "free ports are taken at each start")


def _port(host: str, setting: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = f"stop the program that has it, or set {setting} to another port or to 0"
            return Finding("ports", False, f"port {port} ({setting}): {error.strerror}", remedy)
    return Finding("ports", True, f"port {port} ({setting}) is free")


def leftovers(patient: Patient) -> Iterator[Finding]:
    """No process of an earlier run is left."""
    found = marked_with(home_mark(patient.settings.home_dir.root))
    if patient.running is not None:
        text = f"prime-spark up runs as process {patient.running.pid} with {len(found)} processes"
        yield Finding("processes", True, text)
    elif found:
        numbers = ", ".join(str(pid) for pid in sorted(found))
        text = f"{len(found)} processes of an earlier run are left ({numbers})"
        yield Finding("processes", False, text, "prime-spark up ends them when it starts")
    else:
        yield Finding("processes", True, "nothing runs on this home")


def ledger(patient: Patient) -> Iterator[Finding]:
    """The ledger's database answers, and its time is not ahead of ours."""
    from registry.ledger.database import open_ledger
    from registry.ledger.events import EventLog

    settings = patient.settings
    if settings.ledger.url is None and not settings.home_dir.ledger_file.exists():
        yield Finding("ledger", True, "is made at the first start")
        return
    where = redact(settings.ledger_url)
    try:
        result = EventLog(open_ledger(settings.ledger_url), patient.clock).verify()
    except PrimeSparkError as error:
        yield Finding("ledger", False, str(error), "start the database, or correct ledger.url")
        return
    if result.ok:
        yield Finding("ledger", True, f"{where}: {result.checked} events, none altered")
    else:
        text = f"{where}: entry {result.broken_id} was altered or is missing: {result.reason}"
        yield Finding("ledger", False, text, "restore the database from a backup")


def servers(patient: Patient) -> Iterator[Finding]:
    """Servers that are set, or that our run has started, answer, and agree on the time."""
    for name, url, setting in _servers(patient):
        yield from _server(patient.clock, name, url, setting)


def _servers(patient: Patient) -> Iterator[tuple[str, str, str]]:
    settings, urls = patient.settings, patient.running.urls if patient.running else None
    prefect = settings.prefect.api_url or (urls.prefect_api if urls else None)
    mlflow = settings.mlflow.tracking_uri or (urls.mlflow if urls else None)
    if prefect:
        yield "Prefect", f"{prefect.rstrip('/')}/health", "prefect.api_url"
    if mlflow and mlflow.startswith(("http://", "https://")):
        yield "MLflow", f"{mlflow.rstrip('/')}/health", "mlflow.tracking_uri"
    if urls:
        yield "predictor", f"{urls.predictor}/livez", "serving.port"


def _server(clock: Clock, name: str, url: str, setting: str) -> Iterator[Finding]:
    import httpx

    shown = redact(url)
    remedy = f"start it, or correct {setting}; logs are in the home's directory logs"
    try:
        response = httpx.get(url, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding(name, False, f"{shown} does not answer ({redact(str(error))})", remedy)
        return
    # A server that asks for a login answers, too.
    ok = response.status_code in {200, 401, 403}
    yield Finding(name, ok, f"{shown} answers {response.status_code}", "" if ok else remedy)
    yield from _time_difference(clock, name, response.headers.get("date"))


def _time_difference(clock: Clock, name: str, date: str | None) -> Iterator[Finding]:
    try:
        there = parsedate_to_datetime(date) if date else None
    except ValueError:
        there = None
    if there is None:
        return
    ahead = (clock.now() - there).total_seconds()
    if abs(ahead) > _CLOCK_TOLERANCE_S:
        text = f"this clock is {ahead:+.0f} s from that of {name}"
        yield Finding("clock", False, text, "set both clocks by NTP")


def clock_sanity(patient: Patient) -> Iterator[Finding]:
    """The clock is set, and not behind what was recorded with it."""
    now = patient.clock.now()
    newest = _newest_file_time(patient.settings)
    if now.year < 2025:
        yield Finding("clock", False, f"the clock says {now:%Y-%m-%d}", "set the clock by NTP")
    elif newest > now.timestamp() + _CLOCK_TOLERANCE_S:
        behind = newest - now.timestamp()
        text = f"the clock is {behind:.0f} s behind the newest file of the home"
        yield Finding("clock", False, text, "set the clock by NTP")
    else:
        yield Finding("clock", True, f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _newest_file_time(settings: Settings) -> float:
    with contextlib.suppress(OSError):  # a home that cannot be read is told by its own check
        times = [entry.stat().st_mtime for entry in settings.home_dir.root.iterdir()]
        return max(times, default=0.0)
    return 0.0


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    python_version,
    packages,
    home,
    open_files,
    ports,
    leftovers,
    ledger,
    servers,
    clock_sanity,
)
