"""What the search of batching settings is held against: brute force, and other controllers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.batching.aimd import Watched, aimd
from benchmarks.batching.search import Best, exhaustive, search, tries_of
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.trials import BELOW, STEP, Trials, highest
from benchmarks.performance.batching_scenes import Case, scene_to

_DISPATCHER = Path(__file__).parents[1] / "rivals" / "bentoml_dispatcher.txt"
_START = -20  # steps below ours where rivals begin to look


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case: the highest step of the ladder that each holds; None: none, not even the lowest.

    Attributes:
        found, brute: ours, and the best of the whole grid.
        default: the settings that come with Prime Spark.
        aimd: the controller, on the default session, in both its forms.
        bentoml: its dispatcher, on the default session.
        bentoml_us: what the dispatcher's own code takes for a request and for a run, microseconds.
    """

    case: Case
    found: Best
    brute: Best
    tried: int
    replays: int
    grid: int
    default: int | None
    aimd: Mapping[Watched, int | None]
    bentoml: int | None
    bentoml_us: tuple[float, float]

    def rate(self, step: int | None) -> float:
        """Requests per second."""
        return 0.0 if step is None else self.case.scene.recording.rate * STEP**step

    def ratio(self, other: int | None) -> float | None:
        """How many times as much ours stands; None where the other stands nothing."""
        return None if other is None else STEP ** (self.found.step - other)

    def best_ratio(self, other: int | None) -> float | None:
        """How many times as much the best of the grid stands."""
        return None if other is None else STEP ** (self.brute.step - other)


def compare(
    cases: Sequence[Case], settings: Sequence[BatchSetting], default: BatchSetting
) -> list[Outcome]:
    """Search every case, and put the others beside it, on the same arrivals and costs."""
    searched = [_searched(case, settings) for case in cases]
    steps = _bentoml(
        [
            {
                "scene": scene_to(case.scene),
                "threads": default.session.threads,
                "most_rows": max(one.max_batch_size for one in settings),
                "guess": found.step + _START,
            }
            for case, (_, found) in zip(cases, searched, strict=True)
        ]
    )
    most = BatchSetting(max(one.max_batch_size for one in settings), 0.0, default.session)
    outcomes = []
    for case, (trials, found), bentoml in zip(cases, searched, steps, strict=True):
        tried, replays = len(trials.tried), trials.replays
        brute = exhaustive(trials, settings)
        if brute.setting is None or brute.step < found.step:
            brute = found
        outcomes.append(
            Outcome(
                case=case,
                found=found,
                brute=brute,
                tried=tried,
                replays=replays,
                grid=len(settings),
                default=trials.sustained(default, found.step),
                aimd={watched: _aimd(trials, most, found.step, watched) for watched in Watched},
                bentoml=bentoml["step"],
                bentoml_us=(bentoml["request_s"] * 1e6, bentoml["run_s"] * 1e6),
            )
        )
    return outcomes


def _searched(case: Case, settings: Sequence[BatchSetting]) -> tuple[Trials, Best]:
    trials = Trials(case.scene)
    return trials, search(trials, settings, tries_of(settings))


def _aimd(trials: Trials, most: BatchSetting, guess: int, watched: Watched) -> int | None:
    """The highest step that the controller holds."""
    scene, costs = trials.scene, trials.costs(most.session)
    known: dict[int, bool] = {}

    def holds(step: int) -> bool:
        if step not in known:
            replayed = aimd(
                trials.traffic(step),
                most,
                costs,
                scene.server,
                within=scene.objective,
                watched=watched,
            )
            known[step] = not replayed.gave_up
        return known[step]

    return highest(lambda step: all(holds(step - below) for below in BELOW), guess)


def _bentoml(orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What BentoML's dispatcher holds; it runs in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    lines = "\n".join(json.dumps(one) for one in orders)
    done = subprocess.run(
        [sys.executable, str(_DISPATCHER)],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if done.returncode != 0:
        raise RuntimeError(f"BentoML's dispatcher failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]
