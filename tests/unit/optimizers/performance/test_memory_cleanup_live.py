"""Cleaning up acts, on a real predictor: what is idle leaves memory, and is back on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from benchmarks.serving_models import FEATURES, write_model
from config.clock import SystemClock, epoch
from config.performance_settings import MemorySettings, PerformanceSettings
from config.settings import AgentSettings, Settings
from optimizers.performance.memory_cleanup import MemoryCleanup
from optimizers.targets.serving import ServingFacts, ServingTarget
from optimizers.targets.serving_knobs import ServingKnobs
from optimizers.view import Study, View
from registry.agent_records import ActionState, Change, Observation, Proposal, Verdict
from registry.knobs import KnobStore
from registry.mlflow_models import ModelRegistry
from tests.services.live_actions import LiveActions
from tests.services.predictor import RunningPredictor, running_predictor
from tests.services.processes import wait_until

CLOCK = SystemClock()
IDLE = "serving.idle_unload_seconds"
ROWS = {"inputs": [[0.5] * FEATURES]}
_LAYERS = 6  # 4 MB each
# Its memory is measured every few seconds only.
_MEASURED_S = 5.0


class Scene:
    """A predictor with one model in use and two that nobody asks for, and the agent's hand."""

    def __init__(self, folder: Path, predictor: RunningPredictor, names: list[str]) -> None:
        self.predictor = predictor
        self.busy, *self.idle = names
        part = MemorySettings(memory_percent=80.0, idle_seconds=1.0)
        agent = AgentSettings(verify_samples=10, verify_seconds=3.0, verify_alpha=0.05)
        settings = Settings(agent=agent, performance=PerformanceSettings(memory_cleanup=part))
        self.capability = MemoryCleanup(settings)
        self.live = LiveActions(folder, self.capability, [], settle_s=_MEASURED_S)
        knobs = ServingKnobs(KnobStore(self.live.engine, CLOCK))
        self.target = ServingTarget(predictor.url, CLOCK, knobs=knobs)
        self.live.add(self.target)

    def memory_mb(self) -> float:
        return self._numbers()["memory_mb"]

    def await_rest(self) -> None:
        """Wait until its memory has stayed where it is for as long as measuring it takes."""
        held, since = self.memory_mb(), CLOCK.monotonic()

        def rests() -> bool:
            nonlocal held, since
            now = self.memory_mb()
            if abs(now - held) > 2.0:
                held, since = now, CLOCK.monotonic()
            return CLOCK.monotonic() - since > _MEASURED_S

        wait_until(rests, 60.0, "its memory to come to rest")

    def served(self) -> float:
        return self._numbers()["models_served"]

    def models_idle(self) -> float:
        return self._numbers()["models_idle"]

    def view(self) -> View:
        """What the agent would see, had the machine's memory been full for a while."""
        at = epoch(CLOCK.now())
        observed = self.target.observe(at, 5.0)
        full = [Observation("host", "memory_percent", 90.0, at - 3.0 + one) for one in range(3)]
        history = {("host", "memory_percent"): full}
        for one in observed.observations:
            history.setdefault((one.target, one.metric), []).append(one)
        return View(at=at, history=history, facts={"serving": observed.facts})

    def proposal(self) -> Proposal:
        """Wait until the idle ones count as idle, then look, look closer, and propose."""

        def waited() -> bool:
            facts = self.target.observe(epoch(CLOCK.now()), 5.0).facts
            assert isinstance(facts, ServingFacts)
            arms = [facts.models[name].arms[0] for name in self.idle]
            return all((one.idle_seconds or 0.0) >= 1.0 and one.loaded for one in arms)

        wait_until(waited, 20.0, "two models in memory to be idle for a second")
        view = self.view()
        [finding] = self.capability.detect(view)
        study = Study(view.at, self.capability.study(finding, view, self.live.tools, 10.0))
        view = replace(view, studies={(self.capability.type, finding.subject): study})
        [proposal] = self.capability.propose(finding, view)
        return proposal

    def _numbers(self) -> dict[str, float]:
        observed = self.target.observe(epoch(CLOCK.now()), 5.0).observations
        return {one.metric: one.value for one in observed if not one.labels}


@pytest.fixture(scope="module")
def published(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    registry = ModelRegistry(mlflow_uri, CLOCK)
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    write_model(path, _LAYERS, 1)
    names = [f"{kind}-{uuid4().hex[:8]}" for kind in ("busy", "idle", "idler")]
    for name in names:
        registry.register(name, path)
        registry.set_alias(name, "champion", 1)
    return names


@pytest.fixture(scope="module")
def scene(
    mlflow_uri: str, published: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("predictor")
    with running_predictor(home, mlflow_uri, SERVING__MODELS=",".join(published)) as predictor:
        scene = Scene(home, predictor, published)
        wait_until(lambda: scene.served() == 3, 30.0, "the models to be served")
        with busy(predictor.url, scene.busy):
            yield scene
        scene.live.close()


class busy:  # noqa: N801 - a context, read as a word
    """Somebody asks a model again and again; it fails at the end if one answer was no answer."""

    def __init__(self, url: str, model: str) -> None:
        self._stop = threading.Event()
        self._bad: list[int] = []
        self._thread = threading.Thread(target=self._ask, args=(f"{url}/predict/{model}",))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self._bad == []

    def _ask(self, url: str) -> None:
        with httpx.Client(timeout=20.0) as client:
            while not self._stop.wait(0.03):
                status = client.post(url, json=ROWS).status_code
                if status != httpx.codes.OK:
                    self._bad.append(status)


def test_undone_all_of_them_are_back_in_memory(scene: Scene) -> None:
    scene.live.when("verifying", scene.live.pause)
    done = scene.live.carry_out(scene.proposal(), "action-1")
    assert done.state is ActionState.ROLLED_BACK
    assert scene.target.read(IDLE) is None
    wait_until(lambda: scene.models_idle() == 0, 20.0, "the idle models to be loaded again")


def test_idle_versions_leave_memory_and_come_back_on_demand(scene: Scene) -> None:
    scene.live.resume()
    scene.await_rest()
    full_mb = scene.memory_mb()
    proposal = scene.proposal()
    assert proposal.change == Change(IDLE, None, 1)
    done = scene.live.carry_out(proposal, "action-2")
    assert done.effect is not None, done.reason
    assert done.state is ActionState.COMPLETED, done.reason
    assert done.effect.verdict is Verdict.IMPROVED
    assert scene.target.read(IDLE) == 1
    assert scene.memory_mb() < full_mb - 30
    with scene.predictor.client() as client:
        for name in scene.idle:
            assert client.post(f"/predict/{name}", json=ROWS).status_code == httpx.codes.OK
