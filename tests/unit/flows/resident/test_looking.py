"""A look at all targets: none waits for another, and a dead one is told, not suffered."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from config.clock import SystemClock
from config.errors import UnavailableError
from flows.resident.looking import Lookout
from optimizers.targets.base import Guard, Observed
from registry.agent_records import Change, Observation


class Scripted:
    """A target that answers as it is told."""

    def __init__(self, name: str, answer: Callable[[float], Observed]) -> None:
        self.name = name
        self._answer = answer
        self.asked = 0

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        self.asked += 1
        return self._answer(at)

    def knobs(self) -> tuple[str, ...]:
        return ()

    def read(self, knob: str) -> None:
        raise NotImplementedError

    def write(self, change: Change, guard: Guard) -> None:
        raise NotImplementedError


def well(at: float) -> Observed:
    return Observed((Observation("well", "load_1m", 0.5, at),), facts={"known": 1})


def dead(at: float) -> Observed:
    raise UnavailableError("http://user:secret@host does not answer; check that it is up")


def broken(at: float) -> Observed:
    raise KeyError("load")


def lookout(*targets: Scripted, timeout_s: float = 5.0) -> Lookout:
    return Lookout({one.name: one for one in targets}, timeout_s, SystemClock())


def test_a_dead_target_takes_nothing_from_the_others() -> None:
    found = lookout(Scripted("well", well), Scripted("dead", dead), Scripted("broken", broken))
    look = found.look()
    assert [one.metric for one in look.observations] == ["load_1m"]
    assert look.facts == {"well": {"known": 1}}
    assert {name: health.ok for name, health in look.health.items()} == {
        "well": True,
        "dead": False,
        "broken": False,
    }
    assert "does not answer" in look.health["dead"].reason
    assert "secret" not in look.health["dead"].reason
    assert look.health["broken"].reason == "KeyError: 'load'"


def test_a_target_that_hangs_is_not_asked_again_until_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.resident.looking._GRACE_S", 0.0)
    let_go, ended = threading.Event(), threading.Event()

    def hangs(at: float) -> Observed:
        let_go.wait(20.0)
        ended.set()
        return Observed()

    slow = Scripted("slow", hangs)
    found = lookout(slow, Scripted("well", well), timeout_s=0.05)
    first, second = found.look(), found.look()
    assert "no answer within 0.05 s" in first.health["slow"].reason
    assert "has not ended" in second.health["slow"].reason
    assert slow.asked == 1
    assert second.health["well"].ok
    let_go.set()
    assert ended.wait(5.0)
    hanging = next((t for t in threading.enumerate() if t.name == "look at slow"), None)
    if hanging is not None:
        hanging.join(5.0)
    assert found.look().health["slow"].ok
