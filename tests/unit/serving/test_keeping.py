"""What a worker holds in memory: real sessions that go, come back, and are made anew."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import weakref
from pathlib import Path

import pytest

from registry.onnx_files import inspect, sha256
from registry.records import ModelFile, RouteMode
from serving.knobs import SessionOptions
from serving.plans import Wanted
from serving.replies import Refusal
from serving.state import Update
from tests.services.predictor import write_heavy
from tests.unit.serving.serving_scene import MODEL, Knobs, Scene, until

ALONE = Wanted(1)
SPLIT = Wanted(1, 2, RouteMode.AB, 0.5, "salt", "experiment")
SHADOWED = Wanted(1, 2, RouteMode.SHADOW, 0.0, "salt", "experiment")
IDLE: Knobs = {"serving": {"idle_unload_seconds": 0.02}}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, request_timeout_seconds=5.0)


async def asleep(scene: Scene, want: Wanted = ALONE, place: int = 0) -> None:
    def gone() -> bool:
        scene.publish(want, IDLE)
        return scene.loaded(place).asleep

    await until(gone, "the version to leave memory")


async def test_an_idle_version_goes_and_comes_back_once_for_all_who_wait(scene: Scene) -> None:
    scene.publish(ALONE)
    session = weakref.ref(scene.loaded().runner)
    await asleep(scene)
    await until(lambda: session() is None, "the session to be freed")
    assert scene.state.ready
    answers = await asyncio.gather(*(scene.ask() for _ in range(20)))
    assert {int(outputs[0][0]) for _, _, outputs in answers} == {1}
    assert (await scene.all_loads(), scene.keeping.unloads) == (2, 1)
    assert not scene.loaded().asleep
    assert scene.loaded().batcher.resting


async def test_answers_kept_go_with_the_model(tmp_path: Path) -> None:
    scene = Scene(tmp_path, cache_entries=10)
    scene.publish(ALONE)
    await scene.ask()
    assert scene.loaded().cache.entries == 1
    await asleep(scene)
    assert (scene.loaded().cache.entries, scene.loaded().cache.size_bytes) == (0, 0)
    await scene.ask()
    assert scene.loaded().cache.entries == 1


async def test_a_champion_stays_as_long_as_its_model_is_asked(scene: Scene) -> None:
    scene.publish(SPLIT)
    challenger = [key for key in map(str, range(100)) if _chosen(scene, key) == 2]
    await asyncio.sleep(0.05)
    await scene.ask(challenger[0].encode())
    scene.publish(SPLIT, IDLE)
    assert [scene.loaded(place).asleep for place in (0, 1)] == [False, False]
    champion = next(key for key in map(str, range(100)) if _chosen(scene, key) == 1)
    await asyncio.sleep(0.05)
    await scene.ask(champion.encode())
    scene.publish(SPLIT, IDLE)
    assert [scene.loaded(place).asleep for place in (0, 1)] == [False, True]
    arm, _, outputs = await scene.ask(challenger[1].encode())
    assert (arm.tally.version, int(outputs[0][0])) == (2, 2)


def _chosen(scene: Scene, key: str) -> int:
    return scene.state.plans[MODEL].arm(key.encode()).tally.version


async def test_who_becomes_champion_of_a_model_in_use_is_brought_back_at_once(
    scene: Scene,
) -> None:
    knobs: Knobs = {"serving": {"idle_unload_seconds": 5.0}}
    scene.publish(SHADOWED)
    await asleep(scene, SHADOWED, 1)
    scene.loaded(1).used_at -= 10.0
    scene.publish(SHADOWED, knobs)
    assert scene.loaded(1).asleep
    scene.publish(Wanted(2), knobs)
    await until(lambda: not scene.loaded().asleep, "the new champion to be in memory")


async def test_a_sleeping_shadow_drops_copies_until_it_is_back(scene: Scene) -> None:
    scene.publish(SHADOWED)
    await asleep(scene, SHADOWED, 1)
    await scene.ask()
    assert scene.state.totals.shadow_dropped == 1
    await until(lambda: not scene.loaded(1).asleep, "the shadow to be back")
    await scene.ask()
    await until(lambda: len(scene.scores) == 1, "a score")
    assert not scene.scores[0].error


async def test_0_brings_everything_back_without_a_request(scene: Scene) -> None:
    scene.publish(ALONE)
    await asleep(scene)
    scene.publish(ALONE, {"serving": {"idle_unload_seconds": 0.0}})
    await until(lambda: not scene.loaded().asleep, "the version to be back")
    assert scene.loaded().batcher.counts.runs == 0


async def test_a_version_does_not_leave_while_it_runs(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    path = write_heavy(tmp_path / "heavy.onnx", 1, megabytes=60)
    scene.files[MODEL, 1] = file = ModelFile(MODEL, 1, path, sha256(path), inspect(path))
    warm = {(MODEL, 1): scene.loader.load(file, SessionOptions())}
    scene.state.publish(Update({MODEL: ALONE}, warm, {}, {}, {}))
    await asyncio.sleep(0.03)
    under_way = asyncio.create_task(scene.ask())
    await until(lambda: not scene.loaded().batcher.resting, "the run to begin")
    scene.publish(ALONE, IDLE)
    assert not scene.loaded().asleep
    assert int((await under_way)[2][0][0]) == 1
    await scene.ask()


async def test_what_does_not_fit_is_refused_and_comes_when_there_is_room(scene: Scene) -> None:
    scene.publish(ALONE)
    await asleep(scene)
    scene.memory.free(10)
    answers = await asyncio.gather(*(scene.ask() for _ in range(5)), return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, Refusal)
        assert answer.status == 503
        assert "needs 64 MB of memory and 10 MB are free" in str(answer)
        assert any(name == b"retry-after" for name, _ in answer.headers)
    assert scene.loaded().asleep
    scene.publish(ALONE, IDLE)
    assert "10 MB are free" in scene.state.problems[MODEL]
    scene.memory.free(1000)

    async def answered() -> bool:
        try:
            await scene.ask()
        except Refusal:
            return False
        return True

    for _ in range(1000):
        if await answered():
            break
        await asyncio.sleep(0.01)
    scene.publish(ALONE)
    assert scene.state.problems == {}


async def test_who_waits_longer_than_a_request_may_gets_503(tmp_path: Path) -> None:
    scene = Scene(tmp_path, request_timeout_seconds=0.05)
    scene.publish(ALONE)
    await asleep(scene)
    with (tmp_path / "load.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another worker does while it loads a large model
        with pytest.raises(Refusal, match="was not back in memory within") as refused:
            await scene.ask()
        assert refused.value.status == 503
    await until(lambda: not scene.loaded().asleep, "the version to be back")
    await scene.ask()


async def test_a_file_that_is_gone_is_told_and_asked_for_again(scene: Scene) -> None:
    scene.publish(ALONE)
    await asleep(scene)
    file = scene.files[MODEL, 1].path
    file.rename(file.with_suffix(".away"))
    with pytest.raises(Refusal, match="not in memory") as refused:
        await scene.ask()
    assert refused.value.status == 503


async def test_a_session_is_made_anew_between_requests(scene: Scene) -> None:
    scene.publish(ALONE)
    before = weakref.ref(scene.loaded().runner)
    wanted = {"serving": {"intra_op_threads": 2.0, "allow_spinning": 0.0}}
    scene.publish(ALONE, wanted)
    answers = 0
    while scene.loaded().options != SessionOptions(2, spinning=False):
        await scene.ask()
        answers += 1
        await asyncio.sleep(0)
    await until(lambda: before() is None, "the old session to be freed")
    assert scene.loaded().batcher.counts.runs == answers
    scene.publish(ALONE, {})
    await until(lambda: scene.loaded().options == SessionOptions(), "the settings to hold again")
    assert scene.keeping.loads == 3


async def test_without_room_for_a_second_session_the_first_goes_on(scene: Scene) -> None:
    scene.publish(ALONE)
    scene.memory.free(10)
    knobs: Knobs = {"serving": {"intra_op_threads": 2.0}}
    scene.publish(ALONE, knobs)
    await until(lambda: bool(scene.keeping.problems()), "the refusal")
    await scene.ask()
    assert scene.loaded().options == SessionOptions()
    scene.publish(ALONE, knobs)
    assert "goes on with its session as it is" in scene.state.problems[MODEL]
    scene.publish(ALONE)
    assert scene.state.problems == {}


async def test_a_large_cache_is_made_small_bit_by_bit(tmp_path: Path) -> None:
    scene = Scene(tmp_path, cache_entries=10_000)
    scene.publish(ALONE)
    cache, [_, _, outputs] = scene.loaded().cache, await scene.ask()
    for number in range(9_000):
        cache.put((number,), {}, outputs)
    scene.publish(ALONE, {"serving": {"cache_entries": 10.0}})
    assert cache.entries > 5_000
    await until(lambda: cache.entries == 10, "the cache to be small")


async def test_a_version_that_is_replaced_leaves_nothing_behind(scene: Scene) -> None:
    scene.publish(ALONE)
    await asleep(scene)
    await scene.ask()
    gone = weakref.ref(scene.loaded())
    scene.publish(Wanted(2))
    await scene.ask()
    gc.collect()
    assert gone() is None
