"""TCP between two network namespaces: untouched, and tuned by the agent's own command.

Two pairs of namespaces are alike; the agent looks after one of them (`prime-spark tune now
tcp_tuning`, while transfers go on there) and nobody after the other. Then both are measured in
turn, again and again. What the agent chose is not known to this module.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.performance.parts import Figure, Part, quartiles
from benchmarks.tcp_namespaces import Scene, all_knobs, missing, two_namespaces
from benchmarks.tcp_path import path_between
from benchmarks.tcp_traffic import Receiver, receiving, sending
from benchmarks.tcp_tuning_run import Done, Tuner

_TITLE = "Throughput of transfers, tuned by the agent against untouched cubic"
_REAL = (
    "real kernel TCP between network namespaces, real loss (nftables, random, without a seed); a "
    "path of 40 ms and 100 Mbit/s: its delay by a userspace carrier (TUN), its rate by tbf, for "
    "want of netem; without delay it is a veth pair"
)
_ROUND_TRIP_MS = 40.0
_MBIT = 100.0
_SMALL_RMEM = "4096 16384 16384"
_MOST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything takes: seconds, and how often."""

    rounds: int
    window_s: float
    pairs: int
    half_s: float

    @property
    def each_s(self) -> float:
        """Life of a connection while the agent measures: gone before a new setting is sampled."""
        return self.half_s / 3


FULL = Pace(rounds=10, window_s=4.0, pairs=14, half_s=4.0)
QUICK = Pace(rounds=2, window_s=2.0, pairs=12, half_s=3.0)


@dataclass(frozen=True, slots=True)
class Case:
    """One network: its loss, its receive buffer, and what is wanted of the ratio.

    Attributes:
        path: over a path of delay and rate; else over the veth pair itself.
        connections: at a time while the agent measures; together they do not fill the path.
        quick: whether it is part of the short runs.
    """

    name: str
    at_least: float
    loss: float = 0.0
    small_buffer: bool = False
    path: bool = True
    connections: int = 3
    quick: bool = False


CASES = (
    Case("5 % loss", 15.0, loss=0.05, connections=6, quick=True),
    Case("10 % loss", 8.4, loss=0.10, connections=6),
    Case("small receive buffer", 3.0, small_buffer=True, quick=True),
    Case("no loss", 0.98, quick=True),
    Case("no loss, path without delay", 0.98, path=False),
)


@dataclass(frozen=True, slots=True)
class Side:
    """One pair of namespaces with somebody who receives."""

    scene: Scene
    address: str
    receiver: Receiver

    def rate(self, pace: Pace) -> float:
        """Bytes a second of one connection, from its first byte on."""
        before = self.receiver.count()
        with sending(self.scene.sender, self.address, each_s=10 * pace.window_s):
            self.receiver.await_more_than(before)
            return self.receiver.rate(pace.window_s)


@dataclass(slots=True)
class Result:
    """What a case came to."""

    case: Case
    untouched: list[float] = field(default_factory=list)
    tuned: list[float] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Round by round."""
        return [one / other for one, other in zip(self.tuned, self.untouched, strict=True) if other]

    def figure(self) -> Figure:
        """The ratio, with its quartiles over the rounds."""
        median, low, high = quartiles(self.ratios)
        note = f"quartiles of {len(self.ratios)} rounds; the agent: {_told(self.changes)}"
        name = f"throughput at {self.case.name}, tuned to untouched"
        return Figure(name, median, "×", low, high, at_least=self.case.at_least, note=note)

    def row(self) -> dict[str, object]:
        """Both sides in Mbit/s."""
        sides = {"untouched": self.untouched, "tuned": self.tuned}
        row: dict[str, object] = {"case": self.case.name}
        row |= {f"{k} Mbit/s": f"{quartiles(v)[0] * 8e-6:.4g}" for k, v in sides.items()}
        return row | {"changes": _told(self.changes)}


def measure(quick: bool, seed: int) -> Part:  # noqa: ARG001 - the kernel's loss takes no seed
    """Tune and measure every case."""
    reason = missing()
    if reason:
        return Part("tcp", _TITLE, _REAL, skipped=reason)
    pace = QUICK if quick else FULL
    results = [measure_case(case, pace) for case in CASES if case.quick or not quick]
    if not quick:
        results.append(measure_loss_that_ends(pace))
    return Part(
        name="tcp",
        title=_TITLE,
        real=_REAL,
        figures=[*(one.figure() for one in results), measure_undo(pace)],
        rows=[one.row() for one in results],
    )


def measure_case(case: Case, pace: Pace) -> Result:
    """Let the agent tune one of two like networks, and compare them."""
    result = Result(case)
    _say(case.name)
    with two_sides(case) as (untouched, tuned), tempfile.TemporaryDirectory() as home:
        for done in _tuned(tuned, case, pace, Path(home)):
            result.changes += done.changes
        _compare(untouched, tuned, pace, result)
    return result


def measure_loss_that_ends(pace: Pace) -> Result:
    """What was chosen for loss must not cost anything once the loss is over."""
    case = Case("loss that has ended, path without delay", 0.98, loss=0.05, path=False)
    result = Result(case)
    _say(case.name)
    with two_sides(case) as (untouched, tuned), tempfile.TemporaryDirectory() as home:
        for loss in (case.loss, 0.0):
            tuned.scene.set_loss(loss)
            untouched.scene.set_loss(loss)
            for done in _tuned(tuned, case, pace, Path(home)):
                result.changes += done.changes
        _compare(untouched, tuned, pace, result)
    return result


def measure_undo(pace: Pace) -> Figure:
    """Pause the agent while it measures a change: every setting has to be as it was."""
    case = CASES[0]
    _say("undo")
    with two_sides(case) as (_, tuned), tempfile.TemporaryDirectory() as home:
        before = _knobs(tuned.scene)
        tuner = _tuner(tuned, pace, Path(home))
        changed, done = _interrupted(tuned, tuner, before, pace)
        differ = _differing(before, _knobs(tuned.scene))
    said = ", ".join(changed) or "nothing"
    note = f"changed while measured: {said}; the agent: {_told(done.changes)}"
    return Figure(
        "settings that differ after undo, of all in both namespaces",
        float(len(differ)) if changed else None,
        at_most=0.0,
        note=note,
    )


@contextmanager
def two_sides(case: Case) -> Iterator[tuple[Side, Side]]:
    """Two like networks: one to be left alone, and one to be tuned."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = [_side(stack, case, tag, folder) for tag in "ut"]
        yield sides[0], sides[1]


def _side(stack: ExitStack, case: Case, tag: str, folder: Path) -> Side:
    scene = stack.enter_context(two_namespaces(tag))
    address = scene.address
    if case.path:
        path = path_between(scene, delay_ms=_ROUND_TRIP_MS / 2, mbit=_MBIT)
        address = stack.enter_context(path)
    if case.small_buffer:
        scene.set_knob(scene.receiver, "net.ipv4.tcp_rmem", _SMALL_RMEM)
    scene.set_loss(case.loss)
    return Side(scene, address, stack.enter_context(receiving(scene.receiver, folder)))


def _tuner(side: Side, pace: Pace, home: Path) -> Tuner:
    return Tuner(home, (side.scene.sender, side.scene.receiver), pace.pairs, pace.half_s)


def _tuned(side: Side, case: Case, pace: Pace, home: Path) -> Iterator[Done]:
    """Run the agent, while transfers go on, until it finds nothing more that helps."""
    tuner = _tuner(side, pace, home)
    sender, many = side.scene.sender, case.connections
    with sending(sender, side.address, each_s=pace.each_s, connections=many):
        for _ in range(_MOST_RUNS):
            done = tuner.run()
            yield done
            if not done.kept:
                return


def _interrupted(
    side: Side, tuner: Tuner, before: Mapping[str, bytes], pace: Pace
) -> tuple[Sequence[str], Done]:
    """Pause a run as soon as something is changed; what was changed, and how the run ended."""
    changed: Sequence[str] = ()
    with sending(side.scene.sender, side.address, each_s=pace.each_s, connections=3):
        process = tuner.start()
        while process.poll() is None and not changed:
            changed = _differing(before, _knobs(side.scene))
        tuner.pause_file.parent.mkdir(parents=True, exist_ok=True)
        tuner.pause_file.write_text("the benchmark wants to see everything put back")
        return changed, tuner.end(process)


def _compare(untouched: Side, tuned: Side, pace: Pace, result: Result) -> None:
    """Measure both in turn, first the one and then the other first."""
    for number in range(pace.rounds):
        sides = [(untouched, result.untouched), (tuned, result.tuned)]
        for side, rates in sides if number % 2 else reversed(sides):
            rates.append(side.rate(pace))


def _knobs(scene: Scene) -> Mapping[str, bytes]:
    return {
        f"{namespace[-1]}.{name}": value
        for namespace in (scene.sender, scene.receiver)
        for name, value in all_knobs(namespace).items()
    }


def _differing(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> list[str]:
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _say(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)


def _told(changes: Sequence[str]) -> str:
    return "; ".join(changes) or "changed nothing"
