"""How people steer the agent: pause and resume, goals, knobs it leaves alone, declined advice.

The kill switch is on while the ledger says so or while the pause file is there; the file works when
the ledger does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import Engine, delete, insert, select

from config.clock import Clock, epoch
from config.errors import InputError
from registry.agent_advice import write_declined_gain
from registry.agent_facts import GOALS, PAUSED, Fact, is_paused, read_fact, write_fact
from registry.agent_moves import owned_action
from registry.agent_people import PausedState
from registry.agent_records import Action, Direction, Goal
from registry.agent_rows import checked_text
from registry.ledger.agent_schema import advice, held_knobs
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog

_REASON_BYTES = 1000
_BY_FILE = "file"


class ControlStore:
    """Steers the agent through one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def pause(self, by: str, reason: str) -> PausedState:
        """Stop new effects; pausing a paused agent changes nothing.

        Raises:
            InputError: a text no database can hold.
        """
        by, reason = _checked(by, reason)
        now = self._now()
        with writing(self._engine) as connection:
            lock(connection, "agent pause")
            known = read_fact(connection, PAUSED)
            if is_paused(known):
                return _state(known)
            fact = Fact({"paused": True, "reason": reason}, by, now)
            write_fact(connection, PAUSED, fact)
            self._events.append(connection, "paused", "agent", {"by": by, "reason": reason})
        return _state(fact)

    def resume(self, by: str, pause_file: Path | None = None) -> None:
        """Let the agent act again, taking the pause file away too where one is named.

        Raises:
            InputError: a text no database can hold.
        """
        by, _ = _checked(by, "")
        with writing(self._engine) as connection:
            lock(connection, "agent pause")
            was_paused = is_paused(read_fact(connection, PAUSED))
            by_file = pause_file is not None and pause_file.exists()
            if was_paused:
                write_fact(connection, PAUSED, Fact({"paused": False}, by, self._now()))
            if was_paused or by_file:
                self._events.append(connection, "resumed", "agent", {"by": by, "file": by_file})
        if pause_file is not None:
            pause_file.unlink(missing_ok=True)

    def paused(self, pause_file: Path | None = None) -> PausedState:
        """Whether the agent may change anything, by the ledger and by the file."""
        by_file = _file_state(pause_file) if pause_file is not None else None
        if by_file is not None:
            return by_file
        with reading(self._engine) as connection:
            return _state(read_fact(connection, PAUSED))

    def fact(self, name: str) -> Fact | None:
        """A fact with who set it and when; None when it was never set."""
        with reading(self._engine) as connection:
            return read_fact(connection, name)

    def set_fact(self, name: str, value: JsonValue, by: str) -> None:
        """Set a fact, such as the agent's beat; this is no event."""
        with writing(self._engine) as connection:
            write_fact(connection, name, Fact(value, by, self._now()))

    def goals(self, default: Sequence[Goal] = ()) -> tuple[Goal, ...]:
        """The goals as changed at run time, else the default ones."""
        fact = self.fact(GOALS)
        if fact is None or not isinstance(fact.value, list):
            return tuple(default)
        return tuple(_goal(one) for one in fact.value)

    def set_goals(self, goals: Sequence[Goal], by: str) -> None:
        """Replace the goals from now on, over those of the settings.

        Raises:
            InputError: two goals have one id, or a text no database can hold.
        """
        by, _ = _checked(by, "")
        names = [checked_text(goal.goal_id, "the goal's id", limit=200) for goal in goals]
        names += [checked_text(goal.metric_name, "the metric", limit=200) for goal in goals]
        if len({goal.goal_id for goal in goals}) < len(goals):
            raise InputError("two goals have the same id; give each its own")
        value: JsonValue = [asdict(goal) for goal in goals]
        with writing(self._engine) as connection:
            write_fact(connection, GOALS, Fact(value, by, self._now()))
            self._events.append(connection, "goal", "agent", {"by": by, "goals": value})

    def hold_knob(
        self, target: str, knob: str, reason: str, *, found_by: Action | None = None
    ) -> None:
        """Leave a knob to the person who turned it, until it is released.

        Args:
            target: whose knob it is.
            knob: its name.
            reason: why, in a sentence.
            found_by: the action whose holder found another hand's value. One who has lost the
                action may have seen what its next holder did, and nobody else.

        Raises:
            StaleToken: the action has passed to another holder; nothing was changed.
        """
        here = (held_knobs.c.target == target) & (held_knobs.c.knob == knob)
        row = {"target": target, "knob": knob, "reason": reason, "at": self._now()}
        with writing(self._engine) as connection:
            if found_by is not None:
                owned_action(connection, found_by)
            lock(connection, f"held {target} {knob}")
            if connection.execute(select(held_knobs.c.at).where(here)).first() is not None:
                return
            connection.execute(insert(held_knobs), row)
            body: Mapping[str, JsonValue] = {"knob": knob, "held": True, "reason": reason}
            self._events.append(connection, "knob_held", target, body)

    def release_knob(self, target: str, knob: str, by: str) -> bool:
        """Let the agent turn a knob again; False when it was not held."""
        here = (held_knobs.c.target == target) & (held_knobs.c.knob == knob)
        with writing(self._engine) as connection:
            gone = connection.execute(delete(held_knobs).where(here)).rowcount > 0
            if gone:
                body: Mapping[str, JsonValue] = {"knob": knob, "held": False, "by": by}
                self._events.append(connection, "knob_held", target, body)
        return gone

    def held(self) -> dict[tuple[str, str], str]:
        """The knobs left alone, by target and knob, with the reason."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(held_knobs))
            return {(row.target, row.knob): row.reason for row in rows}

    def decline(self, advice_id: str, gain: float, by: str) -> None:
        """Remember that advice which promised `gain` (relative improvement) was declined."""
        with writing(self._engine) as connection:
            write_declined_gain(connection, advice_id, gain, by=by, at=self._now())
            body: Mapping[str, JsonValue] = {"gain": gain, "by": by}
            self._events.append(connection, "declined", advice_id, body)

    def declined(self, advice_id: str) -> float | None:
        """The gain this advice promised when it was declined; None when it was not."""
        query = select(advice.c.declined_gain).where(advice.c.advice_id == advice_id)
        with reading(self._engine) as connection:
            found: float | None = connection.scalar(query)
        return found

    def all_declined(self) -> dict[str, float]:
        """Declined advice by its id, with the gain it promised then."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(advice.c.advice_id, advice.c.declined_gain))
            return {row.advice_id: row.declined_gain for row in rows}

    def _now(self) -> float:
        return epoch(self._clock.now())


def _checked(by: str, reason: str) -> tuple[str, str]:
    return checked_text(by, "the name", limit=200), checked_text(reason, "the reason")


def _state(fact: Fact | None) -> PausedState:
    if fact is None or not is_paused(fact):
        return PausedState(paused=False)
    reason = fact.value.get("reason") if isinstance(fact.value, dict) else ""
    return PausedState(True, fact.by, str(reason or ""), fact.at)


def _file_state(path: Path) -> PausedState | None:
    """The pause by file; a file that cannot be read still pauses."""
    try:
        at = path.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        return PausedState(True, _BY_FILE, f"{path} cannot be looked at ({error.strerror})")
    try:
        with path.open("rb") as stream:
            said = stream.read(_REASON_BYTES).decode(errors="replace").strip()
    except OSError:
        said = ""
    return PausedState(True, _BY_FILE, said or f"{path} is there; remove it to go on", at)


def _goal(raw: JsonValue) -> Goal:
    if not isinstance(raw, dict):
        raise InputError("the ledger's fact `goals` is no list of goals; set the goals again")
    return Goal(
        goal_id=str(raw["goal_id"]),
        metric_name=str(raw["metric_name"]),
        target_value=float(str(raw["target_value"])),
        direction=Direction(str(raw["direction"])),
        weight=float(str(raw["weight"])),
    )
