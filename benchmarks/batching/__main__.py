"""`python -m benchmarks.batching`: tune a served model beside its predictor, at low priority.

Orders come as JSON on standard input, the answer goes as JSON to standard output: what
:meth:`Tuned.to_dict` gives, or `{"error": sentence}` with exit code 2. The process is as nice as
can be, so that it takes what the predictor leaves; on a busy machine it times runs by their
processor time instead of the clock (see `cost_curve`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.batching.settings import BatchSetting, Bounds, Session
from benchmarks.batching.traffic import busiest, recent
from benchmarks.batching.tuning import Question, tune
from config.errors import PrimeSparkError
from registry.traffic import read_inputs

_NICE = 15
_LOOK_S = 1.0


def main() -> int:
    """Tune as ordered; return the exit code."""
    os.nice(_NICE)
    try:
        answer: dict[str, Any] = tune(question_of(json.load(sys.stdin))).to_dict()
        answer["cpu_s"] = time.process_time()
    except PrimeSparkError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    return 2 if "error" in answer else 0


def question_of(orders: dict[str, Any]) -> Question:
    """Read orders and the traffic that they name.

    Raises:
        InputError: nothing, or too little, was recorded.
    """
    current = orders["current"]
    session = Session(int(current["intra_op_threads"]), bool(current["allow_spinning"]))
    folder, model = Path(orders["traffic"]), str(orders["model"])
    rings = recent(folder, model, orders["version"])
    rows, wait_ms, threads = orders["bounds"]
    return Question(
        path=Path(orders["path"]),
        recording=busiest(rings),
        objective_ms=orders["objective_ms"],
        current=BatchSetting(
            int(current["max_batch_size"]),
            float(current["max_wait_ms"]),
            Session() if session.threads == 1 else session,
        ),
        bounds=Bounds(rows, wait_ms, threads),
        wanted_ms=orders["wanted_ms"],
        inputs=read_inputs(folder, model),
        cores=orders["cores"],
        workers=len(rings),
        busy_cores=psutil.cpu_percent(_LOOK_S) / 100.0 * (psutil.cpu_count() or 1),
        queue_limit=orders["queue_limit"],
        timeout_s=orders["timeout_s"],
        seconds=orders["seconds"],
        seed=orders["seed"],
    )


if __name__ == "__main__":
    sys.exit(main())
