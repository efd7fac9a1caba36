"""Jobs of actions as flow runs of deployments, over Prefect's REST API."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from config.errors import UnavailableError
from flows.prefect_rest import PrefectRest, Run
from optimizers.capability import Job, JobState

TAGS = ("prime-spark", "agent")

_STATES = {
    "COMPLETED": JobState.DONE,
    "FAILED": JobState.FAILED,
    "CRASHED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "CANCELLING": JobState.CANCELLED,
}


class PrefectJobs:
    """Starts flow runs, once for each key; a run that failed is started again a few times."""

    def __init__(self, prefect: PrefectRest) -> None:
        self._prefect = prefect

    def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str) -> Job:
        """Start a run, or return the one there is under this key.

        Raises:
            ConfigError: there is no such deployment.
            UnavailableError: Prefect does not answer.
        """
        self._prefect.start(deployment, parameters, key=key, tags=TAGS)
        return self.find(deployment, key)

    def find(self, deployment: str, key: str) -> Job:  # noqa: ARG002 - keys name the deployment's work
        """Return what is known under this key; state UNKNOWN when nothing is.

        Raises:
            UnavailableError: Prefect does not answer.
        """
        return _job(self._prefect.find(key))

    def cancel(self, flow_run_id: str) -> None:
        """Ask for a run to be cancelled; one that is gone is fine.

        Raises:
            UnavailableError: Prefect does not answer.
        """
        self._prefect.cancel(flow_run_id)


class NoJobs:
    """For a world without Prefect: nothing can be started."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str) -> Job:  # noqa: ARG002
        """Refuse.

        Raises:
            UnavailableError: always.
        """
        raise UnavailableError(f"cannot start {deployment}: {self._reason}")

    def find(self, deployment: str, key: str) -> Job:  # noqa: ARG002
        """Refuse.

        Raises:
            UnavailableError: always.
        """
        raise UnavailableError(f"cannot look for a run of {deployment}: {self._reason}")

    def cancel(self, flow_run_id: str) -> None:
        """Refuse.

        Raises:
            UnavailableError: always.
        """
        raise UnavailableError(f"cannot cancel flow run {flow_run_id}: {self._reason}")


def _job(run: Run | None) -> Job:
    if run is None:
        return Job(JobState.UNKNOWN)
    return Job(_STATES.get(run.state, JobState.RUNNING), run.id, run.message)
