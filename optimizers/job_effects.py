"""How the actions touch the world that only start a job: a flow run under the proposal's key.

A job leaves nothing to put back: undoing it ends it while it runs. That it improved says that it
did what it is for; whether what came of it is any good is the next action's question, and a job
must not be given up for having said no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from config.errors import ConflictError
from optimizers.capability import Job, JobState, Seen, Sight, Tools
from optimizers.targets.base import Guard
from registry.agent_records import Action, Effect, Verdict

DEPLOYMENT = "prime-spark"
FLOW = "flow"
"""The parameter of a proposal that holds the parameters of its flow."""

Judge = Callable[[Action, Tools, Job], Effect]
Outdated = Callable[[Action, Tools], str]


def _called_for(_action: Action, _tools: Tools) -> str:
    """Find that nothing speaks against starting the job."""
    return ""


def parameters_of(action: Action) -> Mapping[str, JsonValue]:
    """The parameters of an action's flow run."""
    found = action.proposal.parameters.get(FLOW)
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class JobEffects:
    """Starts one deployment, watches the run, and has the capability judge what came of it.

    Attributes:
        flow: name of the flow, such as `benchmark`.
        judge: says what a run that ended well came to; it reads the ledger, not the run.
        outdated: says why a job that was not started yet is no longer called for, else nothing.
    """

    flow: str
    judge: Judge
    outdated: Outdated = _called_for

    @property
    def deployment(self) -> str:
        """The deployment's full name."""
        return f"{self.flow}/{DEPLOYMENT}"

    def look(self, action: Action, tools: Tools) -> Seen:
        """Say whether the job was started, and what became of it."""
        job = tools.jobs.find(self.deployment, action.proposal.key)
        match job.state:
            case JobState.UNKNOWN:
                outdated = self.outdated(action, tools)
                if outdated:
                    return Seen(Sight.OTHER, outdated)
                return Seen(Sight.BEFORE, f"no {self.flow} was started for it")
            case JobState.RUNNING:
                return Seen(Sight.UNDER_WAY, f"flow run {job.flow_run_id} is under way")
            case JobState.FAILED if action.progress.get("flow_run_id") != job.flow_run_id:
                # An attempt of an earlier action, or one whose start nobody could note.
                return Seen(Sight.BEFORE, f"flow run {job.flow_run_id} failed; it may be repeated")
        return Seen(Sight.AFTER, f"flow run {job.flow_run_id} is {job.state}", job.flow_run_id)

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        """Start the job; started already, it is the same run.

        Raises:
            ConflictError: a person cancelled it, or it failed just now or too often.
        """
        guard.check()
        job = tools.jobs.start(self.deployment, parameters_of(action), action.proposal.key)
        if job.state in {JobState.FAILED, JobState.CANCELLED}:
            raise ConflictError(
                f"{self.flow} is not started again: flow run {job.flow_run_id} is {job.state} "
                f"({job.message or 'without a word'}); start the flow by hand to try again at once"
            )
        return {"flow_run_id": job.flow_run_id, "deployment": self.deployment}

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        """Return what came of the job; None while it runs."""
        job = tools.jobs.find(self.deployment, action.proposal.key)
        match job.state:
            case JobState.RUNNING:
                return None
            case JobState.DONE:
                return self.judge(action, tools, job)
            case JobState.FAILED:
                reason = f"{self.flow} failed: {job.message or 'see its flow run'}"
                return Effect(Verdict.INCONCLUSIVE, reason)
            case JobState.CANCELLED:
                reason = (
                    f"{self.flow} was cancelled by a person: {job.message or 'no reason given'}"
                )
                return Effect(Verdict.NO_DATA, reason)
        return Effect(Verdict.NO_DATA, f"Prefect knows no run of {self.flow} for it any more")

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """End the job if it runs; what is over stays as it is."""
        guard.check()
        job = tools.jobs.find(self.deployment, action.proposal.key)
        if job.state is JobState.RUNNING and job.flow_run_id is not None:
            tools.jobs.cancel(job.flow_run_id)
