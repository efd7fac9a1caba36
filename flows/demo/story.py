"""Tells the story of the demo inside a running `prime-spark up`, chapter by chapter."""

from __future__ import annotations

from pathlib import Path

from config.clock import Clock, SystemClock
from config.errors import PrimeSparkError
from flows.demo.chapters import CHAPTERS, Chapter
from flows.demo.counts import TrafficStatus
from flows.demo.training import divide_digits
from flows.demo.world import Stopped, Told, World
from flows.up.screen import Screen
from flows.up.session import StoryResult, UpSession

_MODEL = "digits"


def run_story(
    session: UpSession,
    screen: Screen,
    chapters: tuple[Chapter, ...] = CHAPTERS,
    clock: Clock | None = None,
) -> StoryResult:
    """Tell the chapters in their order, up to the first that does not come out as told.

    The visitors stay until `session.stop` is set.
    """
    folder = session.settings.home_dir.root / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    world = _world(session, screen, clock or SystemClock(), folder)
    try:
        return tell(world, chapters)
    finally:
        if world.told.visitors is not None:
            world.told.visitors.leave_when(session.stop)


def tell(world: World, chapters: tuple[Chapter, ...]) -> StoryResult:
    """Tell the chapters in a world that stands ready."""
    for number, chapter in enumerate(chapters, start=1):
        world.screen.chapter(number, chapter.title)
        try:
            ending = chapter.tell(world)
        except Stopped as stopped:
            return StoryResult(False, str(stopped))
        except PrimeSparkError as failure:
            world.screen.done(False, str(failure))
            return StoryResult(False, f"chapter {number} ({chapter.title}): {failure}")
        world.screen.done(True, ending)
    if world.told.visitors is not None:
        world.screen.line(_sum(world.told.visitors.status))
    return StoryResult(True, f"all {len(chapters)} chapters came out as told")


def _sum(seen: TrafficStatus) -> str:
    """Return the traffic of the whole story in a line."""
    failures = ", ".join(f"{kind} ({count})" for kind, count in seen.failures.items()) or "none"
    labels = seen.feedback
    return (
        f"in all: {seen.sent:,} requests, failed: {failures}; {labels.sent:,} labels sent, "
        f"{labels.duplicates:,} of them again and counted once"
    )


def _world(session: UpSession, screen: Screen, clock: Clock, folder: Path) -> World:
    from registry.aliases import AliasHistory
    from registry.experiments import ExperimentStore
    from registry.ledger.database import open_ledger
    from registry.lifecycle import LifecycleStore
    from registry.mlflow_models import ModelRegistry

    screen.status("loading the training libraries")
    engine = open_ledger(session.settings.ledger_url)
    return World(
        session=session,
        screen=screen,
        clock=clock,
        model=_MODEL,
        folder=folder,
        data=divide_digits(),
        registry=ModelRegistry(session.urls.mlflow, clock),
        lifecycle=LifecycleStore(engine, clock),
        experiments=ExperimentStore(engine, clock),
        aliases=AliasHistory(engine, clock),
        told=Told(accuracy={}),
    )
