"""What holds for all eight model actions."""

from __future__ import annotations

import subprocess
import sys

import pytest

from config.settings import Settings
from flows.names import deployment_of
from optimizers.capability import Capability
from optimizers.decision import decide
from optimizers.job_effects import DEPLOYMENT, JobEffects
from optimizers.learning import believe
from optimizers.models.capabilities.steps import believed
from optimizers.view import View
from tests.services.agent_samples import proposal
from tests.services.model_actions import all_capabilities

ALL = all_capabilities(Settings())


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.type)
def test_the_formula_can_say_yes_to_it(one: Capability) -> None:
    made = proposal(
        type=one.type, target=one.target, expected=believed(one.prior), risk=one.prior.risk
    )
    decision = decide(made, believe(made, one.prior, {}), Settings(), 0.1)
    assert decision.run, decision.reasons
    assert not decision.approval


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.type)
def test_it_is_silent_without_data(one: Capability) -> None:
    assert list(one.detect(View(at=0.0))) == []


def test_there_are_the_eight_of_the_specification() -> None:
    assert sorted(one.type for one in ALL) == [
        "ab_test",
        "model_benchmark",
        "model_deploy",
        "model_promote",
        "model_retire",
        "model_retrain",
        "model_rollback",
        "model_update",
    ]


def test_what_changes_nothing_in_serving_has_a_low_risk() -> None:
    risks = {one.type: one.prior.risk for one in ALL}
    assert max(risks["model_benchmark"], risks["model_update"]) <= 0.2
    assert risks["model_retrain"] >= 0.6
    assert 0.3 <= risks["model_promote"] <= 0.6


def test_jobs_start_the_deployments_there_are() -> None:
    jobs = [one.effects for one in ALL if isinstance(one.effects, JobEffects)]
    assert all(one.deployment == deployment_of(one.flow) for one in jobs)
    assert DEPLOYMENT in deployment_of("any")


def test_the_resident_agent_gets_no_heavy_library_from_them() -> None:
    code = (
        "import sys; import optimizers.models.builtin;"
        "from benchmarks.significance import e_process, sample_ratio;"
        "sample_ratio.log_evidence([e_process.Stage(0.1, 90, 10)]);"
        "heavy = ('mlflow', 'scipy', 'onnxruntime', 'prefect');"
        "print([one for one in heavy if one in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
