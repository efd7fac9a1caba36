"""Niceness and cores of threads, read and set.

The kernel keeps both for each thread by itself
(https://man7.org/linux/man-pages/man2/setpriority.2.html, sched_setaffinity.2): setting them for a
process's number changes its first thread only. So all threads are set, and listed again until none
has come meanwhile with the old value.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from config.errors import ConflictError, InputError, UnavailableError
from optimizers.targets.base import Guard
from optimizers.targets.processes_facts import AFFINITY, NICE, Thread
from optimizers.targets.processes_found import began_at
from optimizers.targets.processes_values import Standing, folded, standing, wanted_of
from registry.agent_records import Change

_ONLINE = Path("/sys/devices/system/cpu/online")
_CAP_SYS_NICE = 23
# Threads that come while others are set are set in the next round.
_MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class ThreadKnob:
    """A setting that each thread has.

    Attributes:
        fault: says why a value cannot be set, in a sentence's end; empty when it can.
        command: what a person would run to set it, for a value and process numbers.
    """

    kind: str
    get: Callable[[int], JsonValue]
    put: Callable[[int, JsonValue], None]
    fault: Callable[[JsonValue], str]
    command: Callable[[JsonValue, list[int]], str]


Threads = Callable[[], list[Thread]]


def values_of(knob: ThreadKnob, threads: list[Thread]) -> dict[Thread, JsonValue]:
    """What each thread has; those that are gone are left out."""
    found: dict[Thread, JsonValue] = {}
    for thread in threads:
        with suppress(ProcessLookupError):
            found[thread] = knob.get(thread.tid)
    return found


def read_threads(knob: ThreadKnob, name: str, threads: list[Thread]) -> JsonValue:
    """The value of a name.

    Raises:
        UnavailableError: it has no process that runs.
    """
    values = values_of(knob, threads)
    if not values:
        raise UnavailableError(f"no process of {name} runs, so it has no {knob.kind}")
    return folded(values)


def write_threads(knob: ThreadKnob, threads: Threads, change: Change, guard: Guard) -> None:
    """Set all threads of a name, or none.

    Raises:
        ConflictError: a thread has neither the value before nor the one after.
        InputError: the value cannot be, or the kernel refuses it.
        UnavailableError: no process runs.
    """
    _check(knob, change)
    values = values_of(knob, threads())
    match standing(values, change.before, change.after):
        case Standing.GONE:
            raise UnavailableError(f"no process for {change.knob} runs; start it, or name another")
        case Standing.OTHER:
            raise ConflictError(
                f"{change.knob} is {folded(values)!r}, not {change.before!r}; somebody else has "
                "set it"
            )
    guard.check()
    _set_all(knob, threads, change)


def _check(knob: ThreadKnob, change: Change) -> None:
    after = change.after
    for value in after.values() if isinstance(after, Mapping) else (after,):
        fault = knob.fault(value)
        if fault:
            raise InputError(f"{change.knob} cannot be {value!r}: {fault}")


def _set_all(knob: ThreadKnob, threads: Threads, change: Change) -> None:
    done: dict[Thread, JsonValue] = {}
    for _ in range(_MOST_ROUNDS):
        todo = list(_todo(knob, threads(), change.after))
        if not todo:
            return
        for thread, had, wanted in todo:
            try:
                _set(knob, thread, wanted)
            except OSError as error:
                _put_back(knob, done)
                raise InputError(_refusal(knob, change, thread, error)) from error
            done.setdefault(thread, had)
    raise UnavailableError(f"{change.knob} does not settle: new threads come all the time")


def _todo(
    knob: ThreadKnob, threads: list[Thread], value: JsonValue
) -> Iterator[tuple[Thread, JsonValue, JsonValue]]:
    for thread, has in values_of(knob, threads).items():
        wanted = wanted_of(thread, value)
        if has != wanted:
            yield thread, has, wanted


def _set(knob: ThreadKnob, thread: Thread, wanted: JsonValue) -> None:
    """Set one thread, unless it is gone: its number may be another's by now."""
    if began_at(thread.pid, thread.tid) != thread.began:
        return
    with suppress(ProcessLookupError):
        knob.put(thread.tid, wanted)
        has = knob.get(thread.tid)
        if has != wanted:
            raise OSError(f"the kernel made it {has!r}")


def _put_back(knob: ThreadKnob, done: Mapping[Thread, JsonValue]) -> None:
    """What cannot be put back either is seen by the next look."""
    for thread, had in done.items():
        with suppress(OSError):
            _set(knob, thread, had)


def _refusal(knob: ThreadKnob, change: Change, thread: Thread, error: OSError) -> str:
    command = knob.command(wanted_of(thread, change.after), [thread.pid])
    return (
        f"{change.knob} cannot be set to {change.after!r} for process {thread.pid}: "
        f"{error.strerror or error}; run as root: {command}"
    )


def online_cores() -> tuple[int, ...]:
    """The numbers of the cores that are switched on."""
    try:
        text = _ONLINE.read_text().strip()
    except OSError:
        return tuple(range(os.cpu_count() or 1))
    cores: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        cores += range(int(low), int(high or low) + 1)
    return tuple(cores)


def may_lower_nice(pid: int, to: int) -> bool:
    """Whether a process that was made nicer can be made as little nice as `to` again.

    That takes CAP_SYS_NICE, or a limit RLIMIT_NICE of the process that allows it.
    """
    if _has_capability(_CAP_SYS_NICE):
        return True
    try:
        limit, _ = resource.prlimit(pid, resource.RLIMIT_NICE)
    except OSError:
        return False
    return limit == resource.RLIM_INFINITY or 20 - limit <= to


def _has_capability(number: int) -> bool:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)


def _nice_fault(value: JsonValue) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "" if whole and -20 <= value <= 19 else "niceness is a whole number from -20 to 19"  # type: ignore[operator]


def _cores_fault(value: JsonValue) -> str:
    online = online_cores()
    if not isinstance(value, list) or not value:
        return "it takes a list of at least one core"
    if any(isinstance(one, bool) or one not in online for one in value):
        return f"the cores of this machine are {', '.join(map(str, online))}"
    numbers = [one for one in value if isinstance(one, int)]
    return "" if numbers == sorted(set(numbers)) else "the cores have to be in order, each once"


def _put_nice(tid: int, value: JsonValue) -> None:
    assert isinstance(value, int)
    os.setpriority(os.PRIO_PROCESS, tid, value)


def _put_cores(tid: int, value: JsonValue) -> None:
    assert isinstance(value, list)
    os.sched_setaffinity(tid, [one for one in value if isinstance(one, int)])


def _cores(tid: int) -> JsonValue:
    return [*sorted(os.sched_getaffinity(tid))]


def _renice(value: JsonValue, pids: list[int]) -> str:
    return "; ".join(f"renice -n {value} -p $(ls /proc/{pid}/task)" for pid in pids)


def _taskset(value: JsonValue, pids: list[int]) -> str:
    cores = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return "; ".join(f"taskset -acp {cores} {pid}" for pid in pids)


THREAD_KNOBS: Mapping[str, ThreadKnob] = {
    NICE: ThreadKnob(
        NICE,
        lambda tid: os.getpriority(os.PRIO_PROCESS, tid),
        _put_nice,
        _nice_fault,
        _renice,
    ),
    AFFINITY: ThreadKnob(AFFINITY, _cores, _put_cores, _cores_fault, _taskset),
}
