"""Which workers the predictor runs, as its supervising process notes it for whoever wants to know.

The note is a small file in the home directory, replaced as a whole whenever something changes. It
outlives a predictor that was killed, so a reader asks whether the supervisor it names still lives.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class WorkerNote:
    """The workers of one predictor.

    Attributes:
        supervisor: process id of the process that starts and ends them.
        wanted: how many there should be.
        running: process ids of those that take requests.
        draining: process ids of those that finish what they have and then end.
    """

    supervisor: int
    wanted: int
    running: tuple[int, ...] = ()
    draining: tuple[int, ...] = ()


def note_path(run: Path) -> Path:
    """Where the note stands below the home's folder `run`."""
    return run / "serving" / "workers.json"


def samples_path(folder: Path, pid: int) -> Path:
    """Where a worker leaves its metrics for the others, from when it takes requests to its end."""
    return folder / f"{pid}.prom"


def write_note(run: Path, note: WorkerNote) -> None:
    """Replace the note.

    Raises:
        OSError: it cannot be written; the one before stays.
    """
    path = note_path(run)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(note)), encoding="utf-8")
    draft.replace(path)


def read_note(run: Path) -> WorkerNote | None:
    """Return the note; None where there is none, or what stands there is not one."""
    try:
        with note_path(run).open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
        running, draining = found["running"], found["draining"]
        return WorkerNote(
            _whole(found["supervisor"]),
            _whole(found["wanted"]),
            tuple(_whole(pid) for pid in running),
            tuple(_whole(pid) for pid in draining),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} is no count and no process id")
    return value
