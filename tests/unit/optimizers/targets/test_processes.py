"""Named processes on the real kernel: only they are touched, wholly or not at all, and exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from config.clock import SystemClock, epoch
from config.errors import ConfigError, ConflictError, InputError, UnavailableError
from config.performance_settings import (
    PerformanceSettings,
    ProcessSettings,
    ReallocationSettings,
)
from config.settings import Settings
from optimizers.plugins import PluginContext
from optimizers.targets.processes import ProcessesTarget, make
from optimizers.targets.processes_facts import ProcessesFacts
from optimizers.targets.processes_found import began_at, epoch_of
from optimizers.testing import FreeGuard, check_target
from registry.agent_records import Change
from tests.services.busy_programs import (
    BUSY,
    IDLE,
    NOBODYS,
    THREADS,
    cgroup_v1,
    join,
    mark,
    needs_root,
    program,
    threads,
)
from tests.services.processes import wait_until

CLOCK = SystemClock()


@dataclass
class CallingGuard:
    """Lets the effect happen, after something else has."""

    call: Callable[[], object]

    def check(self) -> None:
        self.call()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def target_of(marked: str, cgroup: str | None = None) -> ProcessesTarget:
    return ProcessesTarget([ProcessSettings(name="job", command=marked, cgroup=cgroup)], CLOCK)


def nice_of(pid: int) -> set[int]:
    return {os.getpriority(os.PRIO_PROCESS, tid) for tid in threads(pid)}


def test_it_keeps_what_targets_promise(stack: ExitStack) -> None:
    marked = mark()
    stack.enter_context(program(IDLE, marked))
    others = {"nice:job": 7, "affinity:job": [0]}
    if os.sched_getaffinity(0) == {0}:
        pytest.skip("one core leaves no other choice of cores")
    check_target(target_of(marked), others=others)  # type: ignore[arg-type]


def test_a_busy_process_is_seen_busy_and_waiting(stack: ExitStack) -> None:
    marked, core = mark(), min(os.sched_getaffinity(0))
    for _ in range(2):
        one = stack.enter_context(program(BUSY, marked))
        os.sched_setaffinity(one.pid, {core})
    target = target_of(marked)
    target.observe(1.0, 5.0)
    begun = CLOCK.monotonic()
    wait_until(lambda: CLOCK.monotonic() > begun + 0.5, 5.0, "half a second")
    seen = {one.metric: one.value for one in target.observe(2.0, 5.0).observations}
    assert seen["process_count"] == 2
    assert seen["process_threads"] == 2
    assert seen["process_rss_mb"] > 1
    # Two on one core: each wants all of it, so what they wait for is at least what they get.
    assert 0 < seen["process_cpu_percent"] < 110
    assert seen["process_wait_percent"] > 50
    assert seen["process_switched_out_rps"] > 0


def test_all_threads_are_set_and_no_other_process(stack: ExitStack) -> None:
    marked, other = mark(), mark()
    job = stack.enter_context(program(THREADS, marked))
    bystander = stack.enter_context(program(THREADS, other))
    wait_until(lambda: len(threads(job.pid)) == 4, 10.0, "the threads")
    target_of(marked).write(Change("nice:job", 0, 9), FreeGuard())
    assert nice_of(job.pid) == {9}
    assert nice_of(bystander.pid) == {0}
    target_of(marked).write(Change("nice:job", 9, 0), FreeGuard())
    assert nice_of(job.pid) == {0}


def test_this_process_and_its_ancestors_are_never_found() -> None:
    command = Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    for part in (command, parent.strip()):
        pids = target_of(part[:500]).pids("job") if len(part) >= 3 else []
        assert os.getpid() not in pids
        assert os.getppid() not in pids


@pytest.mark.parametrize(
    ("words", "role"),
    [
        ("serving.service:Predictor --fd 3", "predictor"),
        ("-m flows.agent --quiet", "house"),
        ("-m prefect server start", "house"),
        ("-m mlflow server --port 5000", "house"),
        ("nightly_workflows.py --mlflow", ""),
    ],
)
def test_the_predictor_and_the_house_are_known_by_their_commands(
    stack: ExitStack, words: str, role: str
) -> None:
    marked = mark()
    stack.enter_context(program(IDLE, marked, *words.split()))
    facts = target_of(marked).observe(1.0, 5.0).facts
    assert isinstance(facts, ProcessesFacts)
    assert facts.named["job"].role == role


def test_a_process_belongs_to_the_first_name_that_fits(stack: ExitStack) -> None:
    marked = mark()
    one = stack.enter_context(program(IDLE, marked))
    named = [
        ProcessSettings(name="first", command=marked),
        ProcessSettings(name="second", command=marked[:12]),
    ]
    target = ProcessesTarget(named, CLOCK)
    assert target.pids("first") == [one.pid]
    assert one.pid not in target.pids("second")


def test_mixed_values_are_put_back_thread_by_thread(stack: ExitStack) -> None:
    marked = mark()
    job = stack.enter_context(program(THREADS, marked))
    wait_until(lambda: len(threads(job.pid)) == 4, 10.0, "the threads")
    first, second, *_ = threads(job.pid)
    os.setpriority(os.PRIO_PROCESS, second, 3)
    target = target_of(marked)
    before = target.read("nice:job")
    assert isinstance(before, dict)
    assert sorted(before.values(), key=str) == [0, 0, 0, 3]
    target.write(Change("nice:job", before, 9), FreeGuard())
    assert target.read("nice:job") == 9
    target.write(Change("nice:job", 9, before), FreeGuard())
    assert target.read("nice:job") == before
    assert os.getpriority(os.PRIO_PROCESS, first) == 0
    assert os.getpriority(os.PRIO_PROCESS, second) == 3


def test_a_thread_under_a_number_of_old_is_another_thread(stack: ExitStack) -> None:
    marked = mark()
    job = stack.enter_context(program(IDLE, marked))
    elsewhere = {f"{job.pid}@1": 15, "1@1": 4, "2@1": 4}
    target_of(marked).write(Change("nice:job", 0, elsewhere), FreeGuard())  # type: ignore[arg-type]
    assert nice_of(job.pid) == {15}, "its process's value, as if inherited; not a stranger's"


def test_one_of_two_dies_meanwhile_and_the_other_is_set_and_put_back(stack: ExitStack) -> None:
    marked = mark()
    stays = stack.enter_context(program(IDLE, marked))
    dies = stack.enter_context(program(IDLE, marked))

    def kill() -> None:
        dies.send_signal(signal.SIGKILL)
        dies.wait()

    target = target_of(marked)
    target.write(Change("nice:job", 0, 9), CallingGuard(kill))
    assert target.read("nice:job") == 9
    assert nice_of(stays.pid) == {9}
    target.write(Change("nice:job", 9, 0), FreeGuard())
    assert nice_of(stays.pid) == {0}


def test_one_that_comes_meanwhile_gets_what_its_name_has(stack: ExitStack) -> None:
    marked = mark()
    stack.enter_context(program(IDLE, marked))
    came: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        came.append(stack.enter_context(program(IDLE, marked)))

    target_of(marked).write(Change("nice:job", 0, 9), CallingGuard(start))
    assert nice_of(came[0].pid) == {9}


def test_without_any_process_there_is_nothing_to_read_or_set() -> None:
    target = target_of(mark())
    with pytest.raises(UnavailableError, match="no process"):
        target.read("nice:job")
    with pytest.raises(UnavailableError, match="no process"):
        target.write(Change("nice:job", 0, 9), FreeGuard())
    observed = target.observe(1.0, 5.0)
    assert [one.value for one in observed.observations] == [0.0]
    assert isinstance(observed.facts, ProcessesFacts)
    assert observed.facts.named == {}


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("nice:job", 20),
        ("nice:job", -21),
        ("nice:job", True),
        ("nice:job", 1.5),
        ("nice:job", {"1@1": "x"}),
        ("affinity:job", []),
        ("affinity:job", [100_000]),
        ("affinity:job", [0, 0]),
        ("affinity:job", "0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(
    stack: ExitStack, knob: str, value: object
) -> None:
    marked = mark()
    job = stack.enter_context(program(IDLE, marked))
    cores = os.sched_getaffinity(job.pid)
    with pytest.raises(InputError, match="cannot be"):
        target_of(marked).write(Change(knob, 0, value), FreeGuard())  # type: ignore[arg-type]
    assert nice_of(job.pid) == {0}
    assert os.sched_getaffinity(job.pid) == cores


def test_what_somebody_else_has_set_stays(stack: ExitStack) -> None:
    marked = mark()
    job = stack.enter_context(program(IDLE, marked))
    os.setpriority(os.PRIO_PROCESS, job.pid, 4)
    with pytest.raises(ConflictError, match="somebody else"):
        target_of(marked).write(Change("nice:job", 0, 9), FreeGuard())
    assert nice_of(job.pid) == {4}


_AS_NOBODY = """
import os, sys
sys.path.insert(0, {root!r})
from config.clock import SystemClock, epoch
from config.errors import InputError
from config.performance_settings import ProcessSettings
from optimizers.targets.processes import ProcessesTarget
from optimizers.testing import FreeGuard
from registry.agent_records import Change
os.setgroups([]); os.setgid(65534); os.setuid(65534)
target = ProcessesTarget([ProcessSettings(name="job", command={marked!r})], SystemClock())
print(target.pids("job"))
if target.pids("job"):
    facts = target.observe(1.0, 5.0).facts
    print(facts.named["job"].final_nice)
    target.write(Change("nice:job", 0, 9), FreeGuard())
    try:
        target.write(Change("nice:job", 9, 0), FreeGuard())
    except InputError as error:
        print(error)
    print(target.read("nice:job"))
"""


def _as_nobody(marked: str) -> list[str]:
    code = _AS_NOBODY.format(root=str(Path(__file__).resolve().parents[4]), marked=marked)
    # Its own command line must not hold the mark, and being named by `-` it does not.
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_root_other_users_processes_are_not_found(stack: ExitStack) -> None:
    needs_root()
    marked = mark()
    stack.enter_context(program(IDLE, marked))
    assert _as_nobody(marked) == ["[]"]


def test_what_the_kernel_refuses_is_said_with_what_to_run(stack: ExitStack) -> None:
    needs_root()
    marked = mark()
    job = stack.enter_context(program(NOBODYS, marked))
    owner = psutil.Process(job.pid).uids
    wait_until(lambda: owner().effective == 65534, 10.0, "it to become nobody's")
    found, final, refusal, now = _as_nobody(marked)
    assert found == f"[{job.pid}]"
    assert final == "True", "without the right to lower niceness, raising it is for good"
    assert "run as root: renice -n 0 -p" in refusal
    assert now == "9"


def test_a_cgroup_of_version_1_is_weighed_and_put_back(stack: ExitStack) -> None:
    marked, folder = mark(), stack.enter_context(cgroup_v1("cpu"))
    job = stack.enter_context(program(IDLE, marked))
    join(folder, job.pid)
    target = target_of(marked, folder.name)
    assert "cpu_weight:job" in target.knobs()
    cores = sorted(os.sched_getaffinity(0))
    others = {"nice:job": 1, "affinity:job": cores[:1], "cpu_weight:job": 102}
    check_target(target, others=others)  # type: ignore[arg-type]
    facts = target.observe(1.0, 5.0).facts
    assert isinstance(facts, ProcessesFacts)
    assert facts.named["job"].knobs["cpu_weight"] == 1024
    assert facts.named["job"].group == f"/{folder.name}"


def test_a_memory_bound_of_version_1_comes_back_exactly(stack: ExitStack) -> None:
    marked, folder = mark(), stack.enter_context(cgroup_v1("memory"))
    target = target_of(marked, folder.name)
    assert target.read("memory_soft_limit:job") == "max"
    target.write(Change("memory_soft_limit:job", "max", 64 * 2**20), FreeGuard())
    assert (folder / "memory.soft_limit_in_bytes").read_text().strip() == str(64 * 2**20)
    with pytest.raises(InputError, match="in steps of"):
        target.write(Change("memory_soft_limit:job", 64 * 2**20, 1000), FreeGuard())
    target.write(Change("memory_soft_limit:job", 64 * 2**20, "max"), FreeGuard())
    assert target.read("memory_soft_limit:job") == "max"


def test_a_cgroup_with_others_in_it_is_left_alone(stack: ExitStack) -> None:
    marked, folder = mark(), stack.enter_context(cgroup_v1("cpu"))
    inner = folder / "inner"
    inner.mkdir()
    stack.callback(inner.rmdir)
    job, other = (stack.enter_context(program(IDLE, one)) for one in (marked, mark()))
    join(folder, job.pid)
    join(inner, other.pid)
    with pytest.raises(ConflictError, match=f"not named for cpu_weight:job: {other.pid};"):
        target_of(marked, folder.name).write(Change("cpu_weight:job", 1024, 102), FreeGuard())
    assert (folder / "cpu.shares").read_text().strip() == "1024"
    other.kill()
    other.wait()


@pytest.mark.parametrize("value", [1, 262_145, "1024", True, None, 10.5])
def test_a_weight_out_of_range_is_refused(stack: ExitStack, value: object) -> None:
    folder = stack.enter_context(cgroup_v1("cpu"))
    target = target_of(mark(), folder.name)
    with pytest.raises(InputError, match="it takes 2 to 262144"):
        target.write(Change("cpu_weight:job", 1024, value), FreeGuard())  # type: ignore[arg-type]
    assert (folder / "cpu.shares").read_text().strip() == "1024"


def test_a_cgroup_that_is_removed_is_away(stack: ExitStack) -> None:
    with cgroup_v1("cpu") as folder:
        target = target_of(mark(), folder.name)
        assert target.read("cpu_weight:job") == 1024
    with pytest.raises(UnavailableError, match="is gone"):
        target.read("cpu_weight:job")


@pytest.mark.parametrize("path", ["/", "//", "..", "a/../..", "/../cpuset"])
def test_paths_out_of_the_cgroups_are_refused(path: str) -> None:
    target = target_of(mark(), path)
    with pytest.raises(InputError, match="name one below the mount"):
        target.read("cpu_weight:job")


def test_the_settings_name_each_once_or_nothing_is_made() -> None:
    def context(*names: str, cgroup: str | None = None) -> PluginContext:
        named = tuple(ProcessSettings(name=name, command="abc", cgroup=cgroup) for name in names)
        part = PerformanceSettings(resource_reallocation=ReallocationSettings(processes=named))
        return PluginContext(Settings(performance=part), CLOCK)

    assert make(context()) == []
    assert [one.name for one in make(context("a", "b"))] == ["processes"]
    with pytest.raises(ConfigError, match="'a' twice"):
        make(context("a", "a"))
    with pytest.raises(ConfigError, match=r"a: the cgroup 'b/\.\./\.\.' cannot be used"):
        make(context("a", cgroup="b/../.."))


def test_a_process_s_begin_is_known_to_a_tick() -> None:
    for _ in range(3):
        before = epoch(SystemClock().now())
        with program(IDLE, mark()) as one:
            began = began_at(one.pid, one.pid)
            after = epoch(SystemClock().now())
        assert began is not None
        assert before - 0.02 <= epoch_of(began) <= after
