"""How the story ends: as told, or with the chapter and the reason."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from config.clock import SystemClock
from flows.demo.chapters import Chapter
from flows.demo.story import tell
from flows.demo.world import ChapterFailed, Stopped, Told, World
from flows.up.screen import PlainScreen
from flows.up.session import UpSession


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def world(told: io.StringIO, tmp_path: Path) -> World:
    """A world with a screen and a clock; no chapter here needs servers."""
    clock = SystemClock()
    session = UpSession(cast(Any, None), cast(Any, None), {}, threading.Event())
    none = cast(Any, None)
    return World(
        session=session,
        screen=PlainScreen(clock, told),
        clock=clock,
        model="digits",
        folder=tmp_path,
        data=none,
        registry=none,
        lifecycle=none,
        experiments=none,
        aliases=none,
        told=Told(accuracy={}),
    )


def fine(_world: World) -> str:
    return "all went well"


def fails(_world: World) -> str:
    raise ChapterFailed("v2 became rejected instead of champion: too slow")


def stops(_world: World) -> str:
    raise Stopped("stopped before the story's end")


def test_all_chapters_as_told(world: World, told: io.StringIO) -> None:
    result = tell(world, (Chapter("one", fine), Chapter("two", fine)))
    assert result.ok
    assert told.getvalue().count("ok: all went well") == 2


def test_the_first_failure_ends_the_story_with_its_reason(world: World, told: io.StringIO) -> None:
    result = tell(world, (Chapter("one", fine), Chapter("two", fails), Chapter("three", fine)))
    assert not result.ok
    assert result.reason == "chapter 2 (two): v2 became rejected instead of champion: too slow"
    assert "three" not in told.getvalue()


def test_a_stop_is_no_success(world: World) -> None:
    result = tell(world, (Chapter("one", stops),))
    assert not result.ok
    assert "stopped" in result.reason


def test_a_wait_that_finds_nothing_says_for_what(world: World) -> None:
    with pytest.raises(ChapterFailed, match="answers of v2: nothing for 0 s"):
        world.wait("answers of v2", 0.05, lambda: None)


def test_a_wait_ends_when_the_user_stops(world: World) -> None:
    world.session.stop.set()
    with pytest.raises(Stopped):
        world.wait("anything", 60.0, lambda: None)


def test_a_wait_gives_what_it_found_even_if_falsy(world: World) -> None:
    assert world.wait("a number", 1.0, lambda: 0) == 0
