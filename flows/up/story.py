"""Runs the demo's story beside the loop that looks after the servers."""

from __future__ import annotations

import threading
import traceback

from config.errors import PrimeSparkError
from config.redaction import redact
from flows.up.screen import Screen
from flows.up.session import StoryResult, UpSession

_JOIN_S = 5.0


class StoryThread:
    """The story in a thread of its own; `result` is there once it has ended."""

    def __init__(self, session: UpSession, screen: Screen) -> None:
        self._session = session
        self._screen = screen
        self.result: StoryResult | None = None
        # A daemon: a story that does not look at `session.stop` cannot hold up the end.
        self._thread = threading.Thread(target=self._run, name="story", daemon=True)

    def start(self) -> None:
        """Begin the story."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the story to end and give it a moment to do so."""
        self._session.stop.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        from flows.demo.story import run_story

        try:
            self.result = run_story(self._session, self._screen)
        except PrimeSparkError as error:
            self.result = StoryResult(ok=False, reason=str(error))
        except Exception as error:  # noqa: BLE001 - whatever breaks the story is its reason
            log = self._session.settings.home_dir.logs / "story.log"
            log.write_text(redact(traceback.format_exc()), encoding="utf-8")
            reason = f"{type(error).__name__}: {error}; details in {log}"
            self.result = StoryResult(ok=False, reason=redact(reason))
