"""Fetches the files of versions from MLflow, checked against what was pinned, without importing it.

For the predictor, the agent and everything else that cannot spend 80 MB and two seconds on that
import. Files come through MLflow's own server; when that cannot reach the artifact store, a child
process with the mlflow client does, and ends.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from config.errors import InputError, ModelRefused, RegistryUnavailable, UnknownVersion
from config.redaction import redact
from registry import version_tags as tags_of
from registry.catalog import Catalog
from registry.evaluation import EvaluationData, evaluation_from_bytes
from registry.model_cache import ModelCache
from registry.onnx_files import MAX_MODEL_BYTES, inspect
from registry.records import ModelFile, ModelVersion

MAX_EVALUATION_FILE_BYTES = 256 * 2**20

_VERSION_ARTIFACT = "/model-versions/get-artifact"
_RUN_ARTIFACT = "/get-artifact"
_CLIENT_S = 600.0


class RegistryReader(Catalog):
    """The catalog of one MLflow server, and its files in a cache on this machine.

    Args:
        tracking_uri: ``http(s)://…``
        cache_dir: made when needed, readable by its owner only.
        timeout_s: the longest a call may take, in seconds.
        max_model_bytes: larger model files are refused.
        environ: where credentials are looked up (MLFLOW_TRACKING_USERNAME and so on).

    Every method that asks the server raises RegistryUnavailable when it cannot be used.
    """

    def __init__(
        self,
        tracking_uri: str,
        cache_dir: Path,
        *,
        timeout_s: float = 3.0,
        max_model_bytes: int = MAX_MODEL_BYTES,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(tracking_uri, timeout_s=timeout_s, environ=environ)
        self._tracking_uri = tracking_uri
        self._cache = ModelCache(cache_dir)
        self._max_model_bytes = max_model_bytes

    def fetch(self, model: str, version: int) -> ModelFile:
        """The model file of a version, from the cache if it is there, checked in either case.

        Raises:
            ModelRefused: no digest is pinned, or the file is not what was pinned, not ONNX, too
                large or of another schema.
            UnknownVersion: there is no such version.
        """
        known = self.version(model, version)
        if known.digest is None:
            raise ModelRefused(
                f"{model} version {version} has no pinned digest; adopt it, or register it "
                "through Prime Spark"
            )
        name = f"{model} version {version}"
        limit = self._max_model_bytes
        try:
            path = self._file(known, known.digest, ".onnx", limit)
        except (UnknownVersion, InputError) as error:
            raise ModelRefused(f"{name} cannot be fetched: {error}") from error
        schema = inspect(path, limit=limit)
        if known.schema is not None and known.schema != schema:
            raise ModelRefused(
                f"{name} takes or gives other tensors than its tag {tags_of.SCHEMA} says; "
                "register it anew"
            )
        return ModelFile(model, version, path, known.digest, schema)

    def fetch_evaluation(self, model: str, version: int) -> EvaluationData:
        """The evaluation data of a version.

        Raises:
            InputError: the version has none, or it is not what was pinned.
        """
        known = self.version(model, version)
        digest = known.evaluation_digest
        if digest is None:
            raise InputError(
                f"{model} version {version} has no evaluation data; register it together with some"
            )
        path = self._file(known, digest, ".npz", MAX_EVALUATION_FILE_BYTES)
        return evaluation_from_bytes(path.read_bytes())

    def _file(self, known: ModelVersion, digest: str, suffix: str, limit: int) -> Path:
        found = self._cache.find(digest, suffix)
        if found is not None:
            return found
        with self._cache.fetching(digest):
            found = self._cache.find(digest, suffix)
            if found is not None:
                return found
            what = f"the file of {known.model} version {known.version}"
            return self._cache.store(digest, suffix, self._pieces(known, suffix, limit), what)

    def _pieces(self, known: ModelVersion, suffix: str, limit: int) -> Iterator[bytes]:
        path = tags_of.EVALUATION_FILE
        route, params = _VERSION_ARTIFACT, {"name": known.model, "version": str(known.version)}
        if suffix == ".onnx":
            path = known.tags.get(tags_of.FILE, tags_of.MODEL_FILE)
            run = known.tags.get(tags_of.FILE_RUN)
            if run is not None:
                route, params = _RUN_ARTIFACT, {"run_uuid": run}
        started = False
        try:
            for piece in self._rest.download(route, params | {"path": path}, limit):
                started = True
                yield piece
        except (RegistryUnavailable, UnknownVersion):
            # Some servers keep artifacts where only their clients can reach them.
            if started or route is _RUN_ARTIFACT or not self._beyond_server(known):
                raise
            yield from self._fetched_by_client(known, path, limit)

    def _beyond_server(self, known: ModelVersion) -> bool:
        params = {"name": known.model, "version": str(known.version)}
        call = "model-versions/get-download-uri"
        uri = self._rest.get(call, params, lambda found: str(found["artifact_uri"]))
        return urlsplit(uri).scheme not in {"mlflow-artifacts", "http", "https"}

    def _fetched_by_client(self, known: ModelVersion, path: str, limit: int) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory(prefix="prime-spark-fetch-") as folder:
            found = fetch_by_client(self._tracking_uri, known, path, Path(folder))
            if found.stat().st_size > limit:
                raise InputError(f"{path} is larger than {limit} bytes; serve a smaller file")
            with found.open("rb") as stream:
                while piece := stream.read(2**20):
                    yield piece


def fetch_by_client(tracking_uri: str, known: ModelVersion, path: str, folder: Path) -> Path:
    """Fetch one file of a version with the mlflow client, in a process of its own.

    Raises:
        RegistryUnavailable: the client cannot get it either.
    """
    command = [sys.executable, "-m", "registry.mlflow_fetch", tracking_uri]
    command += [known.model, str(known.version), path, str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_CLIENT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _beyond(known, f"no answer in {_CLIENT_S:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise _beyond(known, redact(lines[-1]))
    return Path(done.stdout.splitlines()[-1])


def _beyond(known: ModelVersion, cause: str) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"neither MLflow's server nor its client can fetch {known.model} version {known.version} "
        f"({cause}); give this machine access to the artifact store"
    )
