"""A registry in one JSON file: the seams of reader and aliases, without a server.

For tests that start and kill many controllers; how MLflow itself behaves is tested elsewhere.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from config.errors import ModelRefused, RegistryUnavailable, UnknownModel, UnknownVersion
from registry.evaluation import EvaluationData
from registry.records import ModelFile, ModelVersion

_MADE_AT = datetime(2025, 6, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SmallRegistry:
    """One registry; `fail()` lets every call fail until `mend()`."""

    file: Path

    def add(self, model: str, versions: int, **aliases: int) -> SmallRegistry:
        """Register versions 1 to `versions` and set aliases."""
        with self._open() as raw:
            raw["models"][model] = {"versions": versions, "aliases": aliases}
        return self

    def fail(self) -> None:
        """Be away."""
        with self._open(always=True) as raw:
            raw["away"] = True

    def mend(self) -> None:
        """Be back."""
        with self._open(always=True) as raw:
            raw["away"] = False

    def models(self) -> list[str]:
        with self._open() as raw:
            return sorted(raw["models"])

    def aliases(self, model: str) -> dict[str, int]:
        with self._open() as raw:
            return dict(_known(raw, model)["aliases"])

    def set_alias(self, model: str, alias: str, version: int) -> None:
        with self._open() as raw:
            _known(raw, model)["aliases"][alias] = version

    def delete_alias(self, model: str, alias: str) -> None:
        with self._open() as raw:
            _known(raw, model)["aliases"].pop(alias, None)

    def versions(self, model: str) -> list[ModelVersion]:
        with self._open() as raw:
            known = _known(raw, model)
            count, retired = known["versions"], known.get("retired", [])
        return [_version(model, one, one in retired) for one in range(1, count + 1)]

    def version(self, model: str, version: int) -> ModelVersion:
        found = [one for one in self.versions(model) if one.version == version]
        if not found:
            raise UnknownVersion(f"{model} has no version {version}")
        return found[0]

    def is_retired(self, model: str, version: int) -> bool:
        return self.version(model, version).retired

    def set_retired(self, model: str, version: int, retired: bool) -> None:
        with self._open() as raw:
            marked = set(_known(raw, model).get("retired", []))
            _known(raw, model)["retired"] = sorted(
                marked | {version} if retired else marked - {version}
            )

    def fetch(self, model: str, version: int) -> ModelFile:
        raise ModelRefused(f"{model} version {version} has no file here")

    def fetch_evaluation(self, model: str, version: int) -> EvaluationData:
        raise ModelRefused(f"{model} version {version} has no evaluation data here")

    @contextmanager
    def _open(self, *, always: bool = False) -> Iterator[dict[str, Any]]:
        """The whole content, written back at the end; one process at a time."""
        with self.file.with_suffix(".lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            exists = self.file.exists()
            raw = json.loads(self.file.read_text()) if exists else {"models": {}, "away": False}
            if raw["away"] and not always:
                raise RegistryUnavailable("the registry is away", retry_after_s=1.0)
            yield raw
            draft = self.file.with_suffix(".draft")
            draft.write_text(json.dumps(raw))
            draft.replace(self.file)


def _known(raw: dict[str, Any], model: str) -> dict[str, Any]:
    if model not in raw["models"]:
        raise UnknownModel(f"no model {model}")
    found: dict[str, Any] = raw["models"][model]
    return found


def _version(model: str, version: int, retired: bool) -> ModelVersion:
    return ModelVersion(
        model=model,
        version=version,
        digest=f"{version:064x}",
        schema=None,
        metrics={},
        evaluation_digest=None,
        created_at=_MADE_AT,
        run_id=None,
        description="",
        tags={},
        retired=retired,
    )
