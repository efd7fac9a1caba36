"""Whatever people, movers and observers do in whatever order, the alias history tells one story."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from config.clock import ManualClock
from config.errors import ConflictError, RegistryUnavailable
from registry.alias_history import STALE_S, AliasHistory
from registry.aliases import AliasMover
from registry.ledger.database import open_ledger
from registry.ledger.events import EventLog
from registry.records import MoveState
from tests.services.alias_registry import MemoryAliases

MODEL = "digits"
versions = st.integers(1, 4)
observers = st.sampled_from(["w1", "w2", "the watcher"])


class AliasStory(RuleBasedStateMachine):
    """One alias, a person, a mover whose registry fails at times, and observers with old news."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.engine = open_ledger(f"sqlite:///{self.folder}/ledger.db")
        self.clock = ManualClock(datetime(2025, 6, 1, tzinfo=UTC))
        self.registry = MemoryAliases(MODEL)
        self.mover = AliasMover(self.engine, self.clock, self.registry)
        self.history = AliasHistory(self.engine, self.clock)
        self.held: list[int | None] = [None]
        self.reading: dict[str, int | None] = {"champion": None}

    def _now(self) -> int | None:
        return self.registry.aliases(MODEL).get("champion")

    @rule(version=versions)
    def person_moves(self, version: int) -> None:
        self.registry.set_alias(MODEL, "champion", version)
        self.held.append(version)

    @rule()
    def person_deletes(self) -> None:
        self.registry.delete_alias(MODEL, "champion")
        self.held.append(None)

    @rule(version=versions, lost=st.sampled_from(["nothing", "write", "answer"]))
    def mover_moves(self, version: int, lost: str) -> None:
        if self._now() == version:
            return
        self.registry.lose_writes = lost == "write"
        self.registry.lose_answers = lost == "answer"
        try:
            self.mover.move(
                MODEL, "champion", expected=self._now(), to=version, actor="a", reason="r"
            )
        except (RegistryUnavailable, ConflictError):
            pass
        finally:
            self.registry.lose_writes = self.registry.lose_answers = False
            self.held.append(self._now())

    @rule()
    def somebody_recovers(self) -> None:
        self.mover.recover()
        self.held.append(self._now())

    @rule()
    def observer_reads(self) -> None:
        self.reading = {"champion": self._now()}

    @rule(by=observers)
    def observer_tells(self, by: str) -> None:
        self.history.observe(MODEL, self.reading, by)

    @rule(seconds=st.sampled_from([0.1, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def everybody_looks_again(self) -> None:
        """After which the story is complete, as it is a few seconds after the last move."""
        self.somebody_recovers()
        self.clock.advance(2 * STALE_S)
        self.reading = {"champion": self._now()}
        assert self.history.observe(MODEL, self.reading, "the watcher")
        moves = [move for move in self.history.list(MODEL) if move.state is MoveState.DONE]
        assert (moves[-1].after if moves else None) == self._now()
        assert self.history.open_intents() == []

    @invariant()
    def the_story_is_unbroken_and_true(self) -> None:
        moves = [move for move in self.history.list(MODEL) if move.state is MoveState.DONE]
        assert {move.after for move in moves} <= set(self.held)
        assert all(move.before != move.after for move in moves)
        assert all(one.after == other.before for one, other in pairwise(moves))
        assert not moves or moves[0].before is None

    def teardown(self) -> None:
        assert EventLog(self.engine, self.clock).verify().ok
        self.engine.dispose()
        shutil.rmtree(self.folder)


TestAliasStory = AliasStory.TestCase
TestAliasStory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
