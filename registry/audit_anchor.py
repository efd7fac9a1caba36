"""The head of the ledger kept outside of it: as a tag of an MLflow experiment, by light REST.

Whoever may write the ledger could compute its whole chain anew; the anchor shows it, unless they
may write to MLflow too. What was appended after the last anchor is not covered yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from config.errors import ConflictError, InputError, UnknownVersion
from registry.agent_records import canonical_json
from registry.rest import Json, RestClient

TAG = "prime_spark.ledger_head"
_ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Anchor:
    """An entry of the ledger as it was anchored: its id, hash, and when (seconds since 1970)."""

    id: int
    hash: str
    at: float


class AnchorTag:
    """Reads and writes the anchor in the MLflow experiment ``<experiment>/audit``.

    Every method raises RegistryUnavailable when the server cannot be used.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        *,
        timeout_s: float = 5.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._rest = RestClient(tracking_uri, timeout_s, environ)
        self.experiment = f"{experiment}/audit"

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def read(self) -> Anchor | None:
        """The anchor as it was last written; None when there is none.

        Raises:
            ConflictError: the tag holds something else.
        """
        found = self._find()
        if found is None:
            return None
        texts = [tag["value"] for tag in found.get("tags", []) if tag["key"] == TAG]
        return self._parsed(texts[0]) if texts else None

    def write(self, anchor: Anchor) -> None:
        """Replace the anchor."""
        experiment = self._find() or self._create()
        body = {
            "experiment_id": experiment["experiment_id"],
            "key": TAG,
            "value": canonical_json(asdict(anchor)),
        }
        self._rest.send("POST", "experiments/set-experiment-tag", body)

    def _find(self) -> Json | None:
        params = {"experiment_name": self.experiment}
        try:
            found = self._rest.get("experiments/get-by-name", params, _experiment)
        except UnknownVersion:  # MLflow's one code for anything that is not there
            return None
        if found.get("lifecycle_stage", _ACTIVE) != _ACTIVE:
            raise ConflictError(
                f"the MLflow experiment {self.experiment} is deleted; restore it, it holds the "
                "ledger's anchor"
            )
        return found

    def _create(self) -> Json:
        try:
            return self._rest.send("POST", "experiments/create", {"name": self.experiment})
        except InputError:
            made_by_another = self._find()
            if made_by_another is None:
                raise
            return made_by_another

    def _parsed(self, text: str) -> Anchor:
        try:
            raw = json.loads(text)
            return Anchor(int(raw["id"]), str(raw["hash"]), float(raw["at"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ConflictError(
                f"the tag {TAG} of the MLflow experiment {self.experiment} is no anchor; "
                "somebody changed it"
            ) from error


def _experiment(answer: Json) -> Json:
    found: Json = answer["experiment"]
    _ = found["experiment_id"], [(tag["key"], tag["value"]) for tag in found.get("tags", [])]
    return found
