"""What was served last, on disk: a predictor that restarts while the registry is down goes on.

The file names versions, digests and files of the model cache. Nothing in it is trusted blindly:
each model file's digest is computed again before it is loaded.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from config.clock import epoch, from_epoch
from config.errors import ModelRefused
from registry.onnx_files import sha256
from registry.records import ModelFile, ModelSchema, Route, RouteMode

_log = logging.getLogger("prime_spark.serving")
_MOST_BYTES = 16 * 1024 * 1024

Files = dict[tuple[str, int], ModelFile]


@dataclass(frozen=True, slots=True)
class LastGood:
    """Champions, routes, knobs and model files as they were last known to be good."""

    champions: Mapping[str, int] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    knobs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    files: Files = field(default_factory=dict)


def save(path: Path, state: LastGood) -> None:
    """Write the state, whole or not at all; a full disk is logged and costs nothing else."""
    value = {
        "champions": dict(state.champions),
        "routes": [_route_values(route) for route in state.routes.values()],
        "knobs": {scope: dict(values) for scope, values in state.knobs.items()},
        "files": [_file_values(file) for file in state.files.values()],
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(value, stream)
        draft.replace(path)
    except OSError as error:
        _log.warning("cannot note what is served in %s: %s", path, error.strerror)
        with contextlib.suppress(OSError):
            draft.unlink()


def load(path: Path) -> LastGood:
    """Read the state; a missing or damaged file is the same as none."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return LastGood()
        raw = json.loads(path.read_text(encoding="utf-8"))
        return LastGood(
            champions={str(model): int(version) for model, version in raw["champions"].items()},
            routes={route.model: route for route in map(_route, raw["routes"])},
            knobs={
                str(scope): {str(name): float(value) for name, value in values.items()}
                for scope, values in raw["knobs"].items()
            },
            files={(file.model, file.version): file for file in map(_file, raw["files"])},
        )
    except FileNotFoundError:
        return LastGood()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("what was served last cannot be read from %s (%s); ignored", path, error)
        return LastGood()


def checked(file: ModelFile) -> ModelFile:
    """Return the file if it is still the one it was.

    Raises:
        ModelRefused: it is gone or was changed.
    """
    try:
        found = sha256(file.path)
    except OSError as error:
        raise ModelRefused(
            f"{file.model} {file.version}: {file.path} cannot be read ({error.strerror})"
        ) from error
    if found != file.digest:
        raise ModelRefused(
            f"{file.model} {file.version}: {file.path} was changed since it was fetched; delete it"
        )
    return file


def _route_values(route: Route) -> dict[str, object]:
    at = None if route.at is None else epoch(route.at)
    return asdict(route) | {"mode": route.mode.value, "at": at}


def _route(raw: dict[str, object]) -> Route:
    at = raw["at"]
    values = raw | {
        "mode": RouteMode(str(raw["mode"])),
        "at": from_epoch(at) if isinstance(at, float | int) else None,
    }
    return Route(**values)  # type: ignore[arg-type]


def _file_values(file: ModelFile) -> dict[str, object]:
    return {
        "model": file.model,
        "version": file.version,
        "path": str(file.path),
        "digest": file.digest,
        "schema": file.schema.to_json(),
    }


def _file(raw: dict[str, object]) -> ModelFile:
    return ModelFile(
        model=str(raw["model"]),
        version=int(str(raw["version"])),
        path=Path(str(raw["path"])),
        digest=str(raw["digest"]),
        schema=ModelSchema.from_json(str(raw["schema"])),
    )
