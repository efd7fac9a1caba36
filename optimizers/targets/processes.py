"""The processes that the settings name, and nobody else's: how they get on, and what they get.

For each name there are the knobs `nice:<name>` and `affinity:<name>` (a sorted list of cores), and
for its cgroup, where it has one, `cpu_weight:<name>` and the memory bounds of
`optimizers.targets.processes_cgroup`. Several processes under one name have one value; where they
differ, the value says it thread by thread, and exactly that is put back. A thread that has ended
meanwhile is left out; one that has come gets what its name has. None of these knobs outlives its
process, but those of a cgroup.

The kernel has no compare-and-set for any of them: value and guard are checked right before the
write, while the caller holds the ledger's lock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import psutil
from pydantic import JsonValue

from config.clock import Clock
from config.errors import ConfigError, InputError, UnavailableError
from config.performance_settings import ProcessSettings
from optimizers.plugins import PluginContext
from optimizers.targets.base import Guard, Observed, Target
from optimizers.targets.counters import Counters, Interval
from optimizers.targets.processes_cgroup import CGROUP_KINDS, CgroupKnob, Cgroups, parts_of
from optimizers.targets.processes_facts import NICE, TARGET, NamedProcess, ProcessesFacts
from optimizers.targets.processes_found import Found, epoch_of, find, threads_of, waits
from optimizers.targets.processes_threads import (
    THREAD_KNOBS,
    may_lower_nice,
    online_cores,
    read_threads,
    values_of,
    write_threads,
)
from optimizers.targets.processes_values import Standing, standing
from optimizers.targets.readings import Readings
from registry.agent_records import Change

_RATES = {
    "cpu": ("process_cpu_percent", "%", 100.0),
    "waited": ("process_wait_percent", "%", 100.0),
    "switched_out": ("process_switched_out_rps", "1/s", 1.0),
}

# A moment that the kernel counts in ticks may lie a tick before the true one, and a little more.
_TICK_S = 0.02

# A name, what is counted, and what of it: a process or a thread.
Key = tuple[str, str, str]


class ProcessesTarget:
    """The named processes.

    Args:
        named: from the settings.
        clock: tells the time between two looks.
        cgroups: where cgroups are found.
    """

    name = TARGET

    def __init__(
        self, named: Sequence[ProcessSettings], clock: Clock, cgroups: Cgroups | None = None
    ) -> None:
        self._named = {one.name: one for one in named}
        self._cgroups = cgroups or Cgroups()
        self._counters: Counters[Key] = Counters(clock)

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        """Look at each named process; see :class:`optimizers.targets.base.Target`."""
        readings = Readings(self.name, at)
        counters: dict[Key, float] = {}
        facts: dict[str, NamedProcess] = {}
        for name, found in find(list(self._named.values())).items():
            readings.add("process_count", float(len(found)), "", {"process": name})
            if found:
                _add_sizes(readings, name, found)
                counters |= _counted(name, found)
                facts[name] = self._facts(name, found, readings)
        interval = self._counters.advance(counters)
        if interval is not None:
            _add_rates(readings, interval)
        return readings.observed(ProcessesFacts(facts, online_cores()))

    def knobs(self) -> Sequence[str]:
        """Niceness and cores of each name, and what its cgroup has."""
        found = [f"{kind}:{name}" for name in self._named for kind in THREAD_KNOBS]
        for name in self._named:
            with suppress(InputError):  # a look tells what is wrong with the path
                found += [f"{kind}:{name}" for kind in self._cgroup_knobs(name)]
        return found

    def read(self, knob: str) -> JsonValue:
        """A knob's value; see :class:`optimizers.targets.base.Target`."""
        kind, name = self._parsed(knob)
        if kind in THREAD_KNOBS:
            return read_threads(THREAD_KNOBS[kind], name, threads_of(self.pids(name)))
        return self._cgroup_knob(kind, name).read()

    def write(self, change: Change, guard: Guard) -> None:
        """Set a knob of one name; see :class:`optimizers.targets.base.Target`.

        Raises:
            InputError: it takes no such value, or the kernel refuses it; the sentence says what to
                run.
        """
        kind, name = self._parsed(change.knob)
        if kind in THREAD_KNOBS:
            threads = lambda: threads_of(self.pids(name))  # noqa: E731
            write_threads(THREAD_KNOBS[kind], threads, change, guard)
        else:
            self._cgroup_knob(kind, name).write(change, self.pids(name), guard)

    def pids(self, name: str) -> list[int]:
        """The numbers of a name's processes that run now."""
        return [one.pid for one in find(list(self._named.values()))[name]]

    def standing(self, change: Change, since: float | None) -> Standing | None:
        """How the threads of a name stand to a change; None for a knob of its cgroup.

        Args:
            change: of one of the knobs.
            since: threads that have come from this moment on tell nothing, seconds since the epoch.
        """
        kind, name = self._parsed(change.knob)
        if kind not in THREAD_KNOBS:
            return None
        values = values_of(THREAD_KNOBS[kind], threads_of(self.pids(name)))
        new = {one for one in values if since is not None and epoch_of(one.began) > since - _TICK_S}
        return standing(values, change.before, change.after, new)

    def _facts(self, name: str, found: Sequence[Found], readings: Readings) -> NamedProcess:
        pids = tuple(one.pid for one in found)
        knobs: dict[str, JsonValue] = {}
        threads = threads_of(pids)
        for kind, knob in THREAD_KNOBS.items():
            with suppress(UnavailableError, OSError):
                knobs[kind] = read_threads(knob, name, threads)
        bounds: dict[str, tuple[int, int]] = {}
        try:
            for kind, file in self._cgroup_knobs(name).items():
                knobs[kind], bounds[kind] = file.read(), file.bounds
        except (InputError, UnavailableError) as error:
            readings.trouble(str(error))
        nice = knobs.get(NICE)
        return NamedProcess(
            name=name,
            role=next((one.role for one in found if one.role), ""),
            pids=pids,
            knobs=knobs,
            bounds=bounds,
            group=self._cgroups.cpu_group(pids[0]),
            final_nice=isinstance(nice, int) and not all(may_lower_nice(p, nice) for p in pids),
        )

    def _cgroup_knobs(self, name: str) -> dict[str, CgroupKnob]:
        path = self._named[name].cgroup
        if path is None:
            return {}
        found = {kind: self._cgroups.knob(kind, name, path) for kind in CGROUP_KINDS}
        return {kind: knob for kind, knob in found.items() if knob is not None}

    def _cgroup_knob(self, kind: str, name: str) -> CgroupKnob:
        knob = self._cgroup_knobs(name).get(kind)
        if knob is None:
            raise UnavailableError(
                f"{kind} of {name} is gone: this machine, or the cgroup "
                f"{self._named[name].cgroup}, has no such file"
            )
        return knob

    def _parsed(self, knob: str) -> tuple[str, str]:
        kind, _, name = knob.partition(":")
        known = self._named.get(name)
        if known is None or kind not in (*THREAD_KNOBS, *CGROUP_KINDS):
            raise InputError(
                f"{self.name} has no knob {knob!r}; it has {', '.join(self.knobs()) or 'none'}"
            )
        if kind in CGROUP_KINDS and known.cgroup is None:
            raise InputError(f"{knob!r} needs a cgroup; the settings name none for {name}")
        return kind, name


def _add_sizes(readings: Readings, name: str, found: Sequence[Found]) -> None:
    rss = threads = 0
    for one in found:
        with suppress(psutil.Error):
            rss += one.process.memory_info().rss
            threads += one.process.num_threads()
    if threads:
        readings.add("process_rss_mb", rss / 1e6, "MB", {"process": name})
        readings.add("process_threads", float(threads), "", {"process": name})


def _counted(name: str, found: Sequence[Found]) -> dict[Key, float]:
    """What the processes of a name, and their threads, have gone through since each began."""
    counters: dict[Key, float] = {}
    for one in found:
        with suppress(psutil.Error):
            times = one.process.cpu_times()
            part = f"{one.pid}@{one.process.create_time()}"
            counters[name, "cpu", part] = times.user + times.system
    for thread in threads_of(one.pid for one in found):
        for what, value in waits(thread).items():
            counters[name, what, thread.key] = value
    return counters


def _add_rates(readings: Readings, interval: Interval[Key]) -> None:
    gains: dict[tuple[str, str], float] = defaultdict(float)
    for (name, what, _), gain in interval.gains.items():
        gains[name, what] += gain
    for (name, what), gain in gains.items():
        metric, unit, factor = _RATES[what]
        readings.add(metric, factor * gain / interval.seconds, unit, {"process": name})


def make(context: PluginContext) -> Sequence[Target]:
    """Entry point `processes`: left out when the settings name none.

    Raises:
        ConfigError: two have the same name, or a cgroup cannot be one.
    """
    named = context.settings.performance.resource_reallocation.processes
    names = [one.name for one in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"performance.resource_reallocation.processes has {twice!r} twice; name each once"
        )
    for one in named:
        _check_cgroup(one)
    return [ProcessesTarget(named, context.clock)] if named else []


def _check_cgroup(named: ProcessSettings) -> None:
    try:
        if named.cgroup is not None:
            parts_of(named.cgroup)
    except InputError as error:
        raise ConfigError(
            f"performance.resource_reallocation.processes, {named.name}: {error}"
        ) from error
