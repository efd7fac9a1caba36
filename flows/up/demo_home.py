"""The demo's home: made anew for each run, and nobody else's."""

from __future__ import annotations

import shutil

from config.errors import ConflictError
from config.paths import Home

_DEMO_MARK = ".prime-spark-demo"


def empty(home: Home) -> None:
    """Empty the demo's home, which is made for each run; anything else is left alone.

    Raises:
        ConflictError: the directory holds files that no demo has made.
    """
    mark = home.root / _DEMO_MARK
    made_by_create = {home.logs, home.run, home.secrets, home.model_cache}
    others = [entry for entry in home.root.iterdir() if entry not in made_by_create]
    if others and not mark.exists():
        raise ConflictError(
            f"{home.root} holds files that are not the demo's; move them away, or set "
            "PRIME_SPARK_HOME to another directory"
        )
    mark.touch(mode=0o600)
    for entry in home.root.iterdir():
        if entry in (home.run, mark):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    home.create()
