"""Reallocation decides: what it finds, whom it takes from, in which order, and never."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from pydantic import JsonValue

from config.performance_settings import PerformanceSettings, ReallocationSettings
from config.settings import ServingSettings, Settings
from optimizers.performance.resource_reallocation import ResourceReallocation
from optimizers.targets.processes_facts import NamedProcess, ProcessesFacts
from optimizers.targets.serving import ServedArm, ServedModel, ServingFacts
from optimizers.testing import check_capability
from optimizers.view import Study, View
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Direction,
    Goal,
    Observation,
    Proposal,
    Severity,
)
from registry.goals import measure_goals, performance_score
from tests.services.agent_samples import action as an_action

AT = 10_000.0
LOOKS = tuple(AT - 30.0 * back for back in reversed(range(6)))
V1, V2 = (2, 262_144), (1, 10_000)
LATENCY = Goal("latency", "inference_latency_ms", 75.0, Direction.MINIMIZE)

# cpu and wait, percent of one core
Use = tuple[float, float]


def named(
    name: str,
    *,
    role: str = "",
    group: str = "/",
    final_nice: bool = False,
    bounds: tuple[int, int] | None = None,
    **knobs: JsonValue,
) -> NamedProcess:
    return NamedProcess(
        name=name,
        role=role,
        pids=(100,),
        knobs={"nice": 0, "affinity": [0, 1], **knobs},
        bounds={} if bounds is None else {"cpu_weight": bounds},
        group=group,
        final_nice=final_nice,
    )


PREDICTOR = named("web", role="predictor")
HOG = named("batch")


def view_of(
    uses: Mapping[NamedProcess | str, Use] | None = None,
    processes: Sequence[NamedProcess] = (PREDICTOR, HOG),
    *,
    latency: Sequence[float] = (150.0,) * 6,
    goals: Sequence[Goal] = (LATENCY,),
    facts: Mapping[str, object] | None = None,
    actions: Sequence[Action] = (),
    held: Mapping[tuple[str, str], str] | None = None,
) -> View:
    used = uses or {"web": (60.0, 50.0), "batch": (120.0, 60.0)}
    history: dict[tuple[str, str], list[Observation]] = {
        ("serving", "inference_latency_ms"): [
            Observation("serving", "inference_latency_ms", value, at)
            for value, at in zip(latency, LOOKS[-len(latency) :], strict=True)
        ]
    }
    for name in ("error_rate", "throughput_rps"):
        history["serving", name] = [Observation("serving", name, 0.0, at) for at in LOOKS]
    for part, metric in enumerate(("process_cpu_percent", "process_wait_percent")):
        history["processes", metric] = [
            Observation("processes", metric, use[part], at, "%", (("process", str(name)),))
            for name, use in used.items()
            for at in LOOKS
        ]
    known = measure_goals(goals, history, AT)
    return View(
        at=AT,
        history=history,
        goals=known,
        score=performance_score(known),
        facts={
            "processes": ProcessesFacts({one.name: one for one in processes}, (0, 1)),
            **(facts or {}),
        },
        actions=actions,
        held=held or {},
    )


@pytest.fixture
def capability() -> ResourceReallocation:
    return ResourceReallocation(Settings())


def proposed(capability: ResourceReallocation, view: View) -> list[Proposal]:
    return [one for found in capability.detect(view) for one in capability.propose(found, view)]


def changes(capability: ResourceReallocation, view: View) -> list[Change]:
    return [one.change for one in proposed(capability, view) if one.change is not None]


def tried(change: Change, state: ActionState) -> Action:
    action = an_action(state=state)
    proposal = replace(
        action.proposal, type="resource_reallocation", target="processes", change=change
    )
    return replace(action, proposal=proposal)


def test_it_keeps_what_capabilities_promise(capability: ResourceReallocation) -> None:
    [proposal] = check_capability(capability, [view_of()], bounds={"nice:batch": (0, 19)})
    assert proposal.change == Change("nice:batch", 0, 10)
    assert proposal.goal_metric == "inference_latency_ms@serving"
    assert proposal.guardrails == ("error_rate@serving", "throughput_rps@serving")
    assert proposal.expected.mean == pytest.approx(0.12)
    assert proposal.expected.high == pytest.approx(50 / 110)


def test_what_is_not_seen_cannot_be_a_guardrail(capability: ResourceReallocation) -> None:
    view = view_of()
    silent = {key: seen for key, seen in view.history.items() if key[1] != "throughput_rps"}
    [proposal] = proposed(capability, replace(view, history=silent))
    assert proposal.guardrails == ("error_rate@serving",)


def test_the_finding_says_who_waits_and_for_what(capability: ResourceReallocation) -> None:
    [finding] = capability.detect(view_of())
    assert finding.severity is Severity.WARNING
    assert "the score is 50, below 70 in 5 of 5 looks" in finding.text
    assert "web waits for a core 45% of its time" in finding.text


@pytest.mark.parametrize(
    "latency",
    [
        (90.0,) * 6,
        (150.0, 150.0, 150.0, 150.0, 150.0, 90.0),
        (90.0, 90.0, 90.0, 90.0, 150.0, 150.0),
        (150.0, 150.0),
    ],
    ids=["above the score", "good again", "not for long", "too few looks"],
)
def test_a_score_that_is_not_low_for_long_calls_for_nothing(
    capability: ResourceReallocation, latency: Sequence[float]
) -> None:
    assert capability.detect(view_of(latency=latency)) == []


def test_a_goal_that_no_processor_helps_calls_for_nothing(
    capability: ResourceReallocation,
) -> None:
    hits = Goal("hits", "cache_hit_rate", 0.9, Direction.MAXIMIZE)
    view = view_of(goals=[hits])
    rates = [Observation("serving", "cache_hit_rate", 0.1, at) for at in LOOKS]
    history = {**view.history, ("serving", "cache_hit_rate"): rates}
    known = measure_goals([hits], history, AT)
    view = replace(view, history=history, goals=known, score=performance_score(known))
    assert capability.detect(view) == []


@pytest.mark.parametrize(
    "uses",
    [
        {"web": (60.0, 1.0), "batch": (120.0, 60.0)},
        {"web": (60.0, 5.0), "batch": (120.0, 60.0)},
        {"web": (60.0, 50.0), "batch": (5.0, 60.0)},
        {"batch": (120.0, 60.0)},
    ],
    ids=["hardly waits", "waits a small share", "no rival is busy", "predictor unseen"],
)
def test_without_waiting_or_a_rival_there_is_nothing_to_do(
    capability: ResourceReallocation, uses: Mapping[NamedProcess | str, Use]
) -> None:
    assert proposed(capability, view_of(uses)) == []


@pytest.mark.parametrize("role", ["predictor", "house"])
def test_nothing_is_taken_from_the_predictor_the_agent_or_the_servers(
    capability: ResourceReallocation, role: str
) -> None:
    assert proposed(capability, view_of(processes=[PREDICTOR, named("batch", role=role)])) == []


@pytest.mark.parametrize(
    ("bounds", "before", "after"), [(V1, 1024, 102), (V1, 64, 10), (V2, 100, 10), (V2, 5, 1)]
)
def test_the_cgroups_weight_comes_first(
    capability: ResourceReallocation, bounds: tuple[int, int], before: int, after: int
) -> None:
    hog = named("batch", bounds=bounds, cpu_weight=before)
    [change] = changes(capability, view_of(processes=[PREDICTOR, hog]))
    assert change == Change("cpu_weight:batch", before, after)


def test_a_weight_goes_no_lower_than_a_hundredth(capability: ResourceReallocation) -> None:
    hog = named("batch", bounds=V1, cpu_weight=10)
    [change] = changes(capability, view_of(processes=[PREDICTOR, hog]))
    assert change.knob == "nice:batch"


@pytest.mark.parametrize(("before", "after"), [(0, 10), (-5, 10), (10, 19)])
def test_niceness_comes_second(capability: ResourceReallocation, before: int, after: int) -> None:
    [change] = changes(capability, view_of(processes=[PREDICTOR, named("batch", nice=before)]))
    assert change == Change("nice:batch", before, after)


@pytest.mark.parametrize(
    "hog",
    [
        named("batch", nice=19),
        named("batch", group="/elsewhere"),
        named("batch", nice={"1@1": 0, "2@2": 3}),
    ],
    ids=["nicest already", "niceness would tell nothing", "mixed"],
)
def test_cores_come_third(capability: ResourceReallocation, hog: NamedProcess) -> None:
    [change] = changes(capability, view_of(processes=[PREDICTOR, hog]))
    assert change == Change("affinity:batch", [0, 1], [1])


def test_nobody_is_left_without_a_core(capability: ResourceReallocation) -> None:
    uses: dict[NamedProcess | str, Use] = {"web": (700.0, 500.0), "batch": (120.0, 60.0)}
    hog = named("batch", nice=19)
    assert changes(capability, view_of(uses, [PREDICTOR, hog])) == [
        Change("affinity:batch", [0, 1], [1])
    ]
    assert (
        changes(capability, view_of(uses, [PREDICTOR, replace(hog, knobs={"affinity": [1]})])) == []
    )


def test_what_was_taken_back_or_is_held_is_not_tried_again(
    capability: ResourceReallocation,
) -> None:
    nice = Change("nice:batch", 0, 10)
    for view in (
        view_of(actions=[tried(nice, ActionState.ROLLED_BACK)]),
        view_of(actions=[tried(nice, ActionState.HANDED_OVER)]),
        view_of(held={("processes", "nice:batch"): "a person's"}),
    ):
        assert [one.knob for one in changes(capability, view)] == ["affinity:batch"]
    done = view_of(actions=[tried(nice, ActionState.COMPLETED)])
    assert [one.knob for one in changes(capability, done)] == ["nice:batch"]


def test_what_could_not_be_taken_back_is_advice_with_what_to_run(
    capability: ResourceReallocation,
) -> None:
    hog = named("batch", final_nice=True, affinity=[1])
    view = view_of(processes=[named("web", role="predictor", affinity=[0]), hog])
    [finding] = capability.detect(view)
    assert "renice -n 10 -p $(ls /proc/100/task)" in finding.text
    assert proposed(capability, view) == []


def test_without_serving_the_one_that_waits_most_limits(
    capability: ResourceReallocation,
) -> None:
    view = view_of(
        {"a": (20.0, 10.0), "b": (30.0, 60.0), "c": (90.0, 20.0)},
        [named(name) for name in "abc"],
    )
    slow = [Observation("shop", "answer_ms", 900.0, at) for at in LOOKS]
    goal = Goal("answer", "answer_ms", 100.0, Direction.MINIMIZE)
    history = {**view.history, ("shop", "answer_ms"): slow}
    known = measure_goals([goal], history, AT)
    view = replace(view, history=history, goals=known, score=performance_score(known))
    [proposal] = proposed(capability, view)
    assert proposal.parameters == {"limiter": "b"}
    assert proposal.change == Change("nice:c", 0, 10)
    assert proposal.goal_metric == "answer_ms@shop"
    assert proposal.guardrails == ()


def serving(threads: int) -> ServingFacts:
    def model() -> ServedModel:
        arm = ServedArm(variant="champion", version=1, knobs={"intra_op_threads": threads})
        return ServedModel(mode="none", weight=0.0, experiment_id=None, arms=(arm,))

    models = {"busy": model(), "rare": model()}
    return ServingFacts(ready=True, models=models, problems={}, stale={})


def with_models(threads: int, rare_rps: float) -> View:
    """Nothing can be taken from a process, and two models share the predictor."""
    view = view_of(processes=[PREDICTOR, named("batch", nice=19, affinity=[1])])
    rates = [
        Observation(
            "serving", "throughput_rps", rate, AT, "1/s", (("model", name), ("version", "1"))
        )
        for name, rate in (("busy", 100.0), ("rare", rare_rps))
    ]
    view = replace(view, history={**view.history, ("serving", "throughput_rps"): rates})
    blocked = {("processes", "affinity:batch"): "a person's"}
    facts = {**view.facts, "serving": serving(threads)}
    return replace(view, facts=facts, held=blocked)


@pytest.mark.parametrize("written", [None, {"max_batch_size": 8, "intra_op_threads": 4}])
def test_last_a_model_without_traffic_gives_its_threads(
    capability: ResourceReallocation, written: dict[str, JsonValue] | None
) -> None:
    view = with_models(4, 2.0)
    [finding] = capability.detect(view)
    assert (finding.target, finding.subject) == ("serving", "rare")
    assert capability.propose(finding, view) == [], "how the knob was written is not known yet"
    study = Study(AT, {"batching": written})
    view = replace(view, studies={("resource_reallocation", "rare"): study})
    [proposal] = check_capability(capability, [view])
    after = {**(written or {}), "intra_op_threads": 1, "allow_spinning": 0}
    assert proposal.change == Change("serving/rare.batching", written, after)
    assert proposal.goal_metric == "inference_latency_ms"
    assert proposal.guardrails == ("error_rate", "throughput_rps")


@pytest.mark.parametrize(("threads", "rate"), [(1, 2.0), (4, 0.0), (4, 50.0)])
def test_models_on_one_thread_without_traffic_or_with_much_keep_theirs(
    capability: ResourceReallocation, threads: int, rate: float
) -> None:
    [finding] = capability.detect(with_models(threads, rate))
    assert finding.target == "processes"
    assert capability.propose(finding, with_models(threads, rate)) == []


def test_the_settings_hold() -> None:
    part = ReallocationSettings(score=40.0, samples=2, of=2, expected_improvement=0.05, risk=0.1)
    strict = ResourceReallocation(
        Settings(performance=PerformanceSettings(resource_reallocation=part))
    )
    assert strict.detect(view_of()) == []
    assert (strict.prior.improvement, strict.prior.risk) == (0.05, 0.1)
    threads = ResourceReallocation(Settings(serving=ServingSettings(intra_op_threads=8)))
    assert threads.detect(view_of()) != []
