"""Waits for the death of `prime-spark up` and then ends everything it has started.

`python -m flows.up.watchdog UP_ID`, with a pipe as standard input whose other end only the
watched process holds: the pipe ends when that process ends, however it ends.
"""

from __future__ import annotations

import os
import signal
import sys

from flows.up.sweep import sweep


def main() -> None:
    """Block until standard input ends, then sweep."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    sweep(sys.argv[1])


if __name__ == "__main__":
    main()
