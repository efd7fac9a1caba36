"""Wakes `watch_models` as soon as there is something for it to do: `python -m flows.wake`.

It looks every second or two with light clients, importing neither Prefect nor MLflow, and starts a
run of the deployment; the run does the work. Without it nothing is lost: the schedule of
`watch_models` finds the same things later.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.errors import PrimeSparkError
from config.redaction import RedactionFilter
from flows.context import Context, open_context
from flows.names import WATCH_MODELS, deployment_of
from flows.up.signals import StopSignals
from optimizers.models.lifecycle import NEW

if TYPE_CHECKING:
    from optimizers.models.desk import Desk

INTERVAL_S = 1.0

# What stays to be done although a run was woken for it (a start that waits before another attempt).
_REPEAT_S = 30.0

# A signal only sets a flag; this is the longest it waits to be seen between two looks.
_TICK_S = 0.1

_log = logging.getLogger("prime_spark.wake")


@dataclass(slots=True)
class Waker:
    """Looks, and wakes when it sees something new."""

    context: Context
    desk: Desk
    _seen: frozenset[str] = field(default=frozenset(), init=False)
    _woken_for: frozenset[str] = field(default=frozenset(), init=False)
    _woken_at: float = field(default=0.0, init=False)
    _trouble: str = field(default="", init=False)

    def run(self, stopped: Callable[[], bool], interval_s: float = INTERVAL_S) -> None:
        """Look until `stopped` says so; servers that are away are waited for."""
        while not stopped():
            try:
                self.look()
                self._told("")
            except PrimeSparkError as error:
                self._told(str(error))
            self._rest(stopped, interval_s)

    def look(self) -> str | None:
        """Look once; return the id of the flow run that was started, if one was.

        Raises:
            UnavailableError: registry, ledger or Prefect do not answer.
        """
        todo = frozenset(self._todo())
        # A flow that ends starts what follows by itself: give it a moment, but not a new version.
        due = {one for one in todo if one in self._seen or one.endswith(NEW)}
        self._seen = todo
        now = self.context.clock.monotonic()
        if not due or (due <= self._woken_for and now - self._woken_at < _REPEAT_S):
            return None
        flow_run_id = self.context.prefect.trigger(deployment_of(WATCH_MODELS))
        if flow_run_id is not None:
            self._woken_for, self._woken_at = todo, now
            _log.info("woke watch_models for %s", ", ".join(sorted(due)))
        return flow_run_id

    def _todo(self) -> list[str]:
        """Names of everything that waits to be done, over all models."""
        from optimizers.models.observing import observe, watched_models
        from optimizers.models.watching import fixes, plan, unfinished

        found: list[str] = []
        steps: list[str] = []
        for model in watched_models(self.desk, self.context.settings):
            view = observe(self.desk, self.context.settings, model, self.context.prefect.run_states)
            steps += [step.key for step in plan(view, self.context.settings.models)]
            found += [f"{model} {fix.version} {fix.to}" for fix in fixes(view)]
            found += [f"{model} {version} settle" for version in unfinished(view)]
            moves = self.context.alias_history.open_intents(model)
            found += [f"{model} alias move {move.id}" for move in moves]
        started = self.context.prefect.started(steps)
        return found + [key for key in steps if key not in started]

    def _rest(self, stopped: Callable[[], bool], seconds: float) -> None:
        end = self.context.clock.monotonic() + seconds
        while not stopped() and (left := end - self.context.clock.monotonic()) > 0:
            self.desk.wait(min(left, _TICK_S))

    def _told(self, trouble: str) -> None:
        """Log a trouble once when it begins, and once when it is over."""
        if trouble == self._trouble:
            return
        if trouble:
            _log.warning("%s", trouble)
        else:
            _log.info("everything answers again")
        self._trouble = trouble


def main() -> int:
    """Look until a signal asks to stop."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RedactionFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    stop = StopSignals()
    with stop.installed():
        context = open_context()
        Waker(context, context.desk()).run(stop.requested)
        context.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
