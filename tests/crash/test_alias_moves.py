"""kill -9 at every point of a move and a promotion: nothing moved twice, nothing lost or invented.

A child process does the work and kills itself at the named point, as the kernel or the power
would; another one recovers. What counts is what the registry was told to do, and the history.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import uuid
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.context import ForkProcess
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from config.clock import SystemClock
from config.errors import ConflictError
from registry.alias_client import AliasClient, AliasRegistry
from registry.alias_history import AliasHistory
from registry.aliases import AliasMover
from registry.ledger.database import open_ledger
from registry.ledger.events import EventLog
from registry.records import AliasMove, MoveState
from tests.services.alias_registry import FileAliases

pytestmark = pytest.mark.crash

MODEL = "digits"
STEPS = ("intent", "compared", "written", "verified", "done")
MOVE_POINTS = tuple(f"champion:{step}" for step in STEPS)
PROMOTE_POINTS = tuple(
    f"{alias}:{step}" for alias in ("previous", "champion", "challenger") for step in STEPS
)
PROMOTION = [("previous", 1), ("champion", 2), ("challenger", None)]

Work = Callable[[AliasMover], object]
_processes = multiprocessing.get_context("fork")


def _move(mover: AliasMover) -> AliasMove:
    return mover.move(MODEL, "champion", expected=1, to=2, actor="a test", reason="to see")


def _promote(mover: AliasMover) -> list[AliasMove]:
    return mover.promote(MODEL, 2, expected_champion=1, actor="a test", reason="won")


def _recover(mover: AliasMover) -> list[AliasMove]:
    return mover.recover()


def _child(url: str, registry: AliasRegistry, work: Work, die_at: str) -> None:
    def checkpoint(point: str) -> None:
        if point == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    work(AliasMover(open_ledger(url), SystemClock(), registry, checkpoint=checkpoint))


def _run(url: str, registry: AliasRegistry, work: Work, die_at: str = "") -> int:
    process = _start(url, registry, work, die_at)
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def _start(url: str, registry: AliasRegistry, work: Work, die_at: str) -> ForkProcess:
    process = _processes.Process(target=_child, args=(url, registry, work, die_at))
    process.start()
    return process


@pytest.fixture
def registry(ledger: Engine, tmp_path: Path) -> FileAliases:
    """A registry with a champion and a challenger, which the history knows."""
    registry = FileAliases(tmp_path / "aliases")
    registry.set_alias(MODEL, "champion", 1)
    registry.set_alias(MODEL, "challenger", 2)
    seen = dict(registry.aliases(MODEL))
    AliasHistory(ledger, SystemClock()).observe(MODEL, seen, "the first look")
    return registry


def _made(registry: FileAliases) -> list[tuple[str, int | None]]:
    """The writes after the two that set the stage."""
    return registry.writes(MODEL)[2:]


def _check_history(ledger: Engine, expected: list[tuple[str, int | None]]) -> None:
    """Every alias's story is unbroken, told once, ours alone, and chained in the event log."""
    moves = AliasHistory(ledger, SystemClock()).list(MODEL)[2:]
    assert not any(move.outside for move in moves)
    assert all(move.state is MoveState.DONE for move in moves)
    assert [(move.alias, move.after) for move in moves] == expected
    for alias in {move.alias for move in moves}:
        story = [move for move in moves if move.alias == alias]
        assert all(one.after == other.before for one, other in pairwise(story))
    log = EventLog(ledger, SystemClock())
    assert log.verify().ok
    assert len(log.list(subject=MODEL, kind="alias")) == 2 + len(expected)


@pytest.mark.parametrize("point", MOVE_POINTS)
def test_a_move_killed_anywhere_is_made_once(
    ledger: Engine, ledger_url: str, registry: FileAliases, point: str
) -> None:
    assert _run(ledger_url, registry, _move, point) == -signal.SIGKILL
    assert _run(ledger_url, registry, _recover) == 0
    assert _run(ledger_url, registry, _recover) == 0
    assert _made(registry) == [("champion", 2)]
    _check_history(ledger, [("champion", 2)])
    assert AliasHistory(ledger, SystemClock()).open_intents() == []


@pytest.mark.parametrize("point", PROMOTE_POINTS)
def test_a_promotion_killed_anywhere_is_finished_by_doing_it_again(
    ledger: Engine, ledger_url: str, registry: FileAliases, point: str
) -> None:
    assert _run(ledger_url, registry, _promote, point) == -signal.SIGKILL
    assert _run(ledger_url, registry, _promote) == 0
    assert _run(ledger_url, registry, _promote) == 0
    assert _made(registry) == PROMOTION
    _check_history(ledger, PROMOTION)


@pytest.mark.parametrize("seed", range(6))
def test_a_promotion_killed_again_and_again_comes_to_its_end(
    ledger: Engine, ledger_url: str, registry: FileAliases, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        work = rng.choice([_promote, _recover])
        _run(ledger_url, registry, work, rng.choice(PROMOTE_POINTS))
    assert _run(ledger_url, registry, _promote) == 0
    assert _made(registry) == PROMOTION
    _check_history(ledger, PROMOTION)


def test_two_that_promote_at_once_do_it_once(
    ledger: Engine, ledger_url: str, registry: FileAliases
) -> None:
    processes = [_start(ledger_url, registry, _promote_or_lose, "") for _ in range(3)]
    for process in processes:
        process.join(60)
    assert _run(ledger_url, registry, _promote) == 0
    assert _made(registry) == PROMOTION
    _check_history(ledger, PROMOTION)


def _promote_or_lose(mover: AliasMover) -> None:
    try:
        _promote(mover)
    except ConflictError:
        return  # another one has just moved that alias


def test_a_person_between_kill_and_recovery_keeps_the_last_word(
    ledger: Engine, ledger_url: str, registry: FileAliases
) -> None:
    _run(ledger_url, registry, _move, "champion:compared")
    registry.set_alias(MODEL, "champion", 3)
    assert _run(ledger_url, registry, _recover) == 0
    assert registry.aliases(MODEL)["champion"] == 3
    ours, theirs = AliasHistory(ledger, SystemClock()).list(MODEL)[2:]
    assert (ours.state, ours.outside) == (MoveState.HANDED_OVER, False)
    assert (theirs.before, theirs.after, theirs.outside) == (1, 3, True)


def _observe(url: str, registry: FileAliases, worker: str) -> None:
    history = AliasHistory(open_ledger(url), SystemClock())
    while registry.aliases(MODEL).get("challenger") is not None:
        found = registry.aliases(MODEL)
        history.observe(MODEL, {name: found.get(name) for name, _ in PROMOTION}, worker)


def test_observers_beside_a_promotion_that_is_killed_see_nothing_from_outside(
    ledger: Engine, ledger_url: str, registry: FileAliases
) -> None:
    observers = [
        _processes.Process(target=_observe, args=(ledger_url, registry, f"w{n}")) for n in range(2)
    ]
    for observer in observers:
        observer.start()
    for point in ("previous:written", "champion:intent", "champion:written"):
        _run(ledger_url, registry, _promote, point)
    assert _run(ledger_url, registry, _promote) == 0
    for observer in observers:
        observer.join(60)
    assert [observer.exitcode for observer in observers] == [0, 0]
    assert _made(registry) == PROMOTION
    _check_history(ledger, PROMOTION)


def _call(uri: str, call: str, body: dict[str, str]) -> dict[str, dict[str, object]]:
    answer = httpx.post(f"{uri}/api/2.0/mlflow/{call}", json=body)
    answer.raise_for_status()
    found: dict[str, dict[str, object]] = answer.json()
    return found


def test_the_same_on_a_real_mlflow(mlflow_uri: str, tmp_path: Path) -> None:
    url, model = f"sqlite:///{tmp_path}/ledger.db", f"digits-{uuid.uuid4().hex[:8]}"
    run = _call(mlflow_uri, "runs/create", {"experiment_id": "0"})["run"]["info"]
    assert isinstance(run, dict)
    _call(mlflow_uri, "registered-models/create", {"name": model})
    source = {"source": f"{run['artifact_uri']}/model", "run_id": str(run["run_id"])}
    for _ in range(2):
        _call(mlflow_uri, "model-versions/create", {"name": model, **source})
    client = AliasClient(mlflow_uri, timeout_s=20)
    client.set_alias(model, "champion", 1)

    def promote(mover: AliasMover) -> object:
        return mover.promote(model, 2, expected_champion=1, actor="a test", reason="won")

    for point in PROMOTE_POINTS[:10]:
        # Each child has a client of its own: a connection does not survive a fork.
        _run(url, AliasClient(mlflow_uri, timeout_s=20), promote, point)
    assert _run(url, AliasClient(mlflow_uri, timeout_s=20), promote) == 0
    assert client.aliases(model) == {"champion": 2, "previous": 1}
    engine = open_ledger(url)
    moves = AliasHistory(engine, SystemClock()).list(model)
    assert [(m.alias, m.before, m.after) for m in moves if not m.outside] == [
        ("previous", None, 1),
        ("champion", 1, 2),
    ]
    engine.dispose()
