"""Moves aliases so that a move happens once, or not at all, however the process ends.

MLflow's alias writes compare nothing, so the comparison is made here: the intent is committed,
then, under a lock that all our movers share, the alias is read, compared, written and read back.
A killed mover leaves its intent behind, and `recover` settles it by reading.

What cannot be promised: a person who moves the alias in MLflow within the few milliseconds between
our comparison and our write is overwritten, for MLflow offers no way to notice.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from config.clock import Clock
from config.errors import (
    ConflictError,
    DeadlineExceeded,
    InputError,
    PrimeSparkError,
    RegistryUnavailable,
)
from registry.alias_client import AliasRegistry
from registry.alias_history import AliasHistory, Intended
from registry.ledger.database import exclusive
from registry.records import (
    CHALLENGER_ALIAS,
    CHAMPION_ALIAS,
    PREVIOUS_ALIAS,
    AliasMove,
    MoveState,
)

__all__ = ["AliasHistory", "AliasMover"]

_SEEN_BY = "the mover of aliases"


def _nothing(_point: str) -> None:
    """Pass a checkpoint."""


def _permitted() -> None:
    """Let every move happen."""


class AliasMover:
    """Moves the aliases of one registry, under the locks of one ledger.

    Args:
        engine: the ledger.
        clock: for records and deadlines.
        registry: where aliases are read and written; its calls are limited in time.
        checkpoint: called with the name of each point that is reached; crash tests stop there.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        registry: AliasRegistry,
        *,
        checkpoint: Callable[[str], None] = _nothing,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._registry = registry
        self._history = AliasHistory(engine, clock)
        self._checkpoint = checkpoint

    def move(  # noqa: PLR0913 - these are the parts of a move
        self,
        model: str,
        alias: str,
        *,
        expected: int | None,
        to: int | None,
        actor: str,
        reason: str,
        deadline_s: float = 10.0,
        permit: Callable[[], None] = _permitted,
    ) -> AliasMove:
        """Move an alias from the expected version to another; None is "no such alias".

        Args:
            model: the registered model's name.
            alias: its alias.
            expected: what it names now.
            to: what it is to name.
            actor: who moves it, for the record.
            reason: why, for the record.
            deadline_s: longest time for all of it.
            permit: called under the lock, right before the write; what it raises ends the move
                with nothing written.

        Raises:
            ConflictError: the alias names another version than expected; it was left alone. Or
                somebody moved it on right after us.
            DeadlineExceeded: another mover was busy for too long; nothing was changed.
            RegistryUnavailable: the outcome is not known; `recover` will find it.
        """
        if expected == to:
            raise InputError(f"{model}@{alias} would move from {to} to {to}; nothing to do")
        intended = Intended(model, alias, expected, to, actor, reason)
        deadline = self._clock.monotonic() + deadline_s
        with exclusive(self._engine, _lock_of(model), deadline_s):
            self._recover_model(model)
            self._compare(intended)
            move = self._history.intend(intended)
            self._checkpoint(f"{alias}:intent")
            return self._carry_out(move, deadline, permit)

    def recover(self, model: str | None = None, *, deadline_s: float = 10.0) -> list[AliasMove]:
        """Settle the moves that a killed process left open, and return how they came out.

        The alias names the new version already: the move is done. It still names the old one: the
        move is made now. It names another one: a person has to look (HANDED_OVER).

        Raises:
            RegistryUnavailable, LedgerUnavailable, DeadlineExceeded: try again later.
        """
        settled: list[AliasMove] = []
        for name in sorted({move.model for move in self._history.open_intents(model)}):
            with exclusive(self._engine, _lock_of(name), deadline_s):
                settled += self._recover_model(name)
        return settled

    def promote(
        self,
        model: str,
        version: int,
        *,
        expected_champion: int | None,
        actor: str,
        reason: str,
        permit: Callable[[], None] = _permitted,
    ) -> list[AliasMove]:
        """Make a version the champion; the one before becomes `previous`.

        Done again, or after being killed at any point, it does what is left to do.

        Returns:
            The moves that were made now.

        Raises:
            ConflictError: the champion is neither the expected version nor this one.
        """
        self.recover(model)
        aliases = self._registry.aliases(model)
        champion = aliases.get(CHAMPION_ALIAS)
        if champion not in {expected_champion, version}:
            raise _conflict(model, CHAMPION_ALIAS, champion, expected_champion)
        wanted: list[tuple[str, int | None]] = [(CHAMPION_ALIAS, version)]
        if expected_champion not in {None, version}:
            # First, so that there is a way back from the moment the champion changes.
            wanted.insert(0, (PREVIOUS_ALIAS, expected_champion))
        if aliases.get(CHALLENGER_ALIAS) == version:
            wanted.append((CHALLENGER_ALIAS, None))
        return [
            self.move(
                model,
                alias,
                expected=aliases.get(alias),
                to=to,
                actor=actor,
                reason=reason,
                permit=permit,
            )
            for alias, to in wanted
            if aliases.get(alias) != to
        ]

    def _compare(self, intended: Intended) -> None:
        found = self._read(intended.model, intended.alias)
        if found != intended.before:
            raise _conflict(intended.model, intended.alias, found, intended.before)

    def _read(self, model: str, alias: str) -> int | None:
        found = self._registry.aliases(model).get(alias)
        self._history.observe(model, {alias: found}, _SEEN_BY)
        return found

    def _carry_out(self, move: AliasMove, deadline: float, permit: Callable[[], None]) -> AliasMove:
        try:
            found = self._registry.aliases(move.model).get(move.alias)
        except RegistryUnavailable as error:
            self._history.settle(move, MoveState.FAILED, f"nothing was written: {error}")
            raise
        if found != move.before:
            self._history.settle(move, MoveState.FAILED, f"it names {_shown(found)} now")
            self._read(move.model, move.alias)
            raise _conflict(move.model, move.alias, found, move.before)
        if self._clock.monotonic() > deadline:
            self._history.settle(move, MoveState.FAILED, "no time was left for it")
            raise DeadlineExceeded(
                f"there was no time left to move {move.model}@{move.alias}; it was left alone"
            )
        self._checkpoint(f"{move.alias}:compared")
        try:
            permit()
        except PrimeSparkError as error:
            self._history.settle(move, MoveState.FAILED, f"not permitted: {error}")
            raise
        self._write(move)
        self._checkpoint(f"{move.alias}:written")
        settled, found = self._verify(move)
        if found != move.after:
            raise ConflictError(
                f"{move.model}@{move.alias} was moved to {_shown(move.after)} and at once to "
                f"{_shown(found)} by another hand; that one stands"
            )
        return settled

    def _write(self, move: AliasMove) -> None:
        try:
            if move.after is None:
                self._registry.delete_alias(move.model, move.alias)
            else:
                self._registry.set_alias(move.model, move.alias, move.after)
        except InputError as error:
            self._history.settle(move, MoveState.FAILED, str(error))
            raise
        except RegistryUnavailable:
            # The write may have happened, or may yet: only `after` is proof. The rest stays open.
            if self._registry.aliases(move.model).get(move.alias) != move.after:
                raise

    def _verify(self, move: AliasMove) -> tuple[AliasMove, int | None]:
        found = self._registry.aliases(move.model).get(move.alias)
        self._checkpoint(f"{move.alias}:verified")
        settled = self._history.settle(move, MoveState.DONE)
        self._checkpoint(f"{move.alias}:done")
        if found != move.after:
            self._history.observe(move.model, {move.alias: found}, _SEEN_BY)
        return settled, found

    def _recover_model(self, model: str) -> list[AliasMove]:
        return [self._recover_move(move) for move in self._history.open_intents(model)]

    def _recover_move(self, move: AliasMove) -> AliasMove:
        try:
            found = self._registry.aliases(move.model).get(move.alias)
            if found == move.after:
                return self._history.settle(move, MoveState.DONE, "found done afterwards")
            if found == move.before:
                self._write(move)
                return self._verify(move)[0]
        except InputError as error:
            return self._history.settle(move, MoveState.FAILED, str(error))
        note = f"found at {_shown(found)} afterwards; a person has to look"
        settled = self._history.settle(move, MoveState.HANDED_OVER, note)
        self._history.observe(move.model, {move.alias: found}, _SEEN_BY)
        return settled


def _lock_of(model: str) -> str:
    return f"aliases of {model}"


def _conflict(model: str, alias: str, found: int | None, expected: int | None) -> ConflictError:
    return ConflictError(
        f"{model}@{alias} names {_shown(found)}, not {_shown(expected)}; somebody moved it, so it "
        "was left alone"
    )


def _shown(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
