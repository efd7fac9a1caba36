"""The predictor's knobs as the agent turns them: wanted values in the ledger, which workers follow.

A knob is named `<scope>.<name>`: `serving.cache_entries`, `serving/digits.max_wait_ms`. What a
batch is made of is one knob too, `<scope>.batching`: a JSON object of the four values that belong
together. A knob reads as it was written, or null when it never was and the settings hold; a whole
value reads as a whole number. Writing null takes it away again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from config.errors import ConflictError, InputError
from optimizers.targets.base import Guard
from registry.agent_records import Change
from registry.knobs import BOUNDS, ROOT, KnobStore, check_scope

EXTRA = "serving_knobs"
"""Under this name the store stands in the extras of a PluginContext."""

BATCHING = "batching"
BATCHING_NAMES = ("max_batch_size", "max_wait_ms", "intra_op_threads", "allow_spinning")
_ACTOR = "agent"

Values = dict[str, float | None]


class ServingKnobs:
    """Reads and writes the predictor's knobs in the ledger."""

    def __init__(self, store: KnobStore) -> None:
        self._store = store

    @staticmethod
    def names(models: Iterable[str]) -> list[str]:
        """The knobs of the whole predictor and of the given models; versions have theirs too."""
        found = [f"{ROOT}.{name}" for name in (*BOUNDS, BATCHING)]
        narrow = [name for name, bounds in BOUNDS.items() if not bounds.everywhere]
        for model in models:
            found += [f"{ROOT}/{model}.{name}" for name in (*narrow, BATCHING)]
        return found

    def read(self, knob: str) -> JsonValue:
        """Return a knob as it was written; None when it was not.

        Raises:
            InputError: no such knob.
            LedgerUnavailable: the ledger does not answer.
        """
        scope, name = _parts(knob)
        return _shown(name, self._store.read(scope))

    def write(self, change: Change, guard: Guard) -> None:
        """Turn a knob; guard and present value are checked in the transaction that writes it.

        Raises:
            ConflictError: it has another value than `change.before` or `change.after`.
            StaleToken: somebody else works on the action now.
            InputError: no such knob, or a value it does not take.
            LedgerUnavailable: the ledger does not answer; the outcome has to be read.
        """
        scope, name = _parts(change.knob)
        wanted = _wanted(change.knob, name, change.after)
        try:
            expected = _wanted(change.knob, name, change.before)
        except InputError:
            # It cannot have such a value.
            guard.check()
            self._refuse(change)
            return
        reason = f"{change.knob} from {change.before} to {change.after}"
        self._store.write_many(scope, expected, wanted, _ACTOR, reason, check=guard.check)

    def _refuse(self, change: Change) -> None:
        now = self.read(change.knob)
        if now != change.after:
            raise ConflictError(f"{change.knob} is {now}, not {change.before}; it was left alone")


def _parts(knob: str) -> tuple[str, str]:
    scope, dot, name = knob.rpartition(".")
    if not dot or not (name == BATCHING or name in BOUNDS):
        raise InputError(
            f"{knob!r} is no knob of the predictor; write <scope>.<name>, such as serving.workers; "
            f"the names are {', '.join((*BOUNDS, BATCHING))}"
        )
    check_scope(scope)
    return scope, name


def _shown(name: str, written: Mapping[str, float]) -> JsonValue:
    if name != BATCHING:
        return _plain(written.get(name))
    found: dict[str, JsonValue] = {
        one: _plain(written[one]) for one in BATCHING_NAMES if one in written
    }
    return found or None


def _plain(value: float | None) -> int | float | None:
    return int(value) if value is not None and value == int(value) else value


def _wanted(knob: str, name: str, value: JsonValue) -> Values:
    """The values that a knob's value stands for."""
    if name != BATCHING:
        return {name: _number(knob, value)}
    given = {} if value is None else value
    if not isinstance(given, dict) or not given.keys() <= set(BATCHING_NAMES):
        raise InputError(f"{knob} takes an object of {', '.join(BATCHING_NAMES)}, or null")
    if value is not None and (not given or None in given.values()):
        raise InputError(f"{knob}: leave out what is not to be set; null takes all of it away")
    return {one: _number(knob, given.get(one)) for one in BATCHING_NAMES}


def _number(knob: str, value: JsonValue) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise InputError(f"{knob} takes numbers or null, not {value!r}")
