"""Starts servers in the order of their needs, keeps them running, and stops them in reverse.

Everything happens in the thread that calls: the kernel ends a child with the *thread* that has
started it, so this has to be one that lives as long as the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from config.clock import Clock
from config.errors import UnavailableError
from flows.up.process import ServerProcess, fresh_log
from flows.up.screen import Screen, ServiceState
from flows.up.services import Service

_TICK_S = 0.1
_TAIL_LINES = 12
_MAX_DEATHS = 3
_DEATHS_WINDOW_S = 60.0
# A process that nobody can ask is taken for ready when it has not ended by then.
_SETTLED_S = 1.0


class ServiceFailed(UnavailableError):
    """A server did not start or would not stay up; the text ends with its last log lines."""


class PortLost(ServiceFailed):
    """A server found its port taken; another port may do."""


class Supervisor:
    """The processes of one run of `prime-spark up`."""

    def __init__(
        self,
        *,
        screen: Screen,
        clock: Clock,
        environment: Mapping[str, str],
        logs: Path,
        folder: Path,
    ) -> None:
        """Args: `logs` takes the log files, `folder` is the processes' working directory."""
        self._screen = screen
        self._clock = clock
        self._environment = environment
        self._logs = logs
        self._folder = folder
        self._servers: list[ServerProcess] = []

    def start(self, services: Sequence[Service], interrupted: Callable[[], bool]) -> bool:
        """Start all and wait until each answers.

        Returns:
            False when the user interrupted.

        Raises:
            ServiceFailed: one ended, or did not answer before its deadline.
        """
        for service in services:
            log = fresh_log(self._logs, service.output or service.name)
            self._servers.append(ServerProcess(service, log))
            self._screen.service(service.name, ServiceState.WAITING)
        while not self._all_ready():
            if interrupted():
                return False
            for server in self._servers:
                self._advance(server)
            time.sleep(_TICK_S)
        return True

    def watch(self) -> None:
        """Look after servers that were all ready once: one that has ended is started again.

        Raises:
            ServiceFailed: it ends again and again.
        """
        for server in self._servers:
            if not server.service.once and not server.alive:
                self._revive(server)
            else:
                self._advance(server)

    def stop(self, hurry: Callable[[], bool]) -> None:
        """Stop all, those that ask before those that answer; kill what does not stop.

        Args:
            hurry: tells that the user does not want to wait for an orderly end.
        """
        for stage in sorted({server.service.stage for server in self._servers}):
            self._stop_stage([s for s in self._servers if s.service.stage == stage], hurry)
        self._servers.clear()

    def _all_ready(self) -> bool:
        return all(server.ready for server in self._servers)

    def _advance(self, server: ServerProcess) -> None:
        if server.ready:
            return
        if server.popen is None:
            if self._needs_met(server.service):
                self._spawn(server)
            return
        service = server.service
        exit_code = server.exit_code
        if service.once and exit_code == 0:
            self._mark_ready(server)
        elif exit_code is not None:
            raise self._failure(server, f"ended while starting ({_ending(exit_code)})")
        elif self._answers(server):
            self._mark_ready(server)
        elif self._clock.monotonic() - server.started_at > service.deadline_s:
            raise self._failure(server, f"did not answer within {service.deadline_s:.0f} s")

    def _answers(self, server: ServerProcess) -> bool:
        service = server.service
        if service.probe is not None:
            return service.probe()
        return not service.once and self._clock.monotonic() - server.started_at > _SETTLED_S

    def _needs_met(self, service: Service) -> bool:
        ready = {server.service.name for server in self._servers if server.ready}
        return ready.issuperset(service.needs)

    def _spawn(self, server: ServerProcess) -> None:
        server.spawn(self._environment, self._folder, self._clock.monotonic())
        self._screen.service(server.service.name, ServiceState.STARTING)

    def _mark_ready(self, server: ServerProcess) -> None:
        server.ready = True
        took = self._clock.monotonic() - server.started_at
        self._screen.service(server.service.name, ServiceState.READY, took)

    def _revive(self, server: ServerProcess) -> None:
        now = self._clock.monotonic()
        server.deaths = [at for at in server.deaths if now - at < _DEATHS_WINDOW_S] + [now]
        ending = _ending(server.exit_code or 0)
        if len(server.deaths) > _MAX_DEATHS:
            raise self._failure(server, f"ended {len(server.deaths)} times in a minute ({ending})")
        self._screen.line(f"{server.service.name} ended ({ending}); starting it again")
        self._spawn(server)

    def _failure(self, server: ServerProcess, what: str) -> ServiceFailed:
        name = server.service.name
        self._screen.service(name, ServiceState.FAILED, note=what)
        tail = server.log_tail(_TAIL_LINES)
        kind = PortLost if "address already in use" in tail.lower() else ServiceFailed
        shown = f"; its last lines:\n{tail}" if tail else "; its log is empty"
        return kind(f"{name} {what}; log file: {server.log_file}{shown}")

    def _stop_stage(self, servers: list[ServerProcess], hurry: Callable[[], bool]) -> None:
        living = [server for server in servers if server.alive]
        for server in living:
            self._screen.service(server.service.name, ServiceState.STOPPING)
            server.terminate()
        asked_at = self._clock.monotonic()
        while living:
            waited = self._clock.monotonic() - asked_at
            for server in living:
                if hurry() or waited > server.service.grace_s:
                    server.kill()
            living = self._still_living(living, asked_at)
            time.sleep(_TICK_S / 2)

    def _still_living(self, servers: list[ServerProcess], asked_at: float) -> list[ServerProcess]:
        for server in servers:
            if not server.alive:
                took = self._clock.monotonic() - asked_at
                self._screen.service(server.service.name, ServiceState.STOPPED, took)
        return [server for server in servers if server.alive]


def _ending(exit_code: int) -> str:
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
