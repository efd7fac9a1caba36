"""The commands about the agent: the same through a real API process and on the ledger alone."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine

from config.clock import SystemClock, epoch
from config.paths import Home
from flows.commands.agent_simulate import span_of
from registry.agent_actions import ActionStore
from registry.agent_control import ControlStore
from registry.agent_findings import FindingStore
from registry.agent_learning import LearningStore
from registry.agent_records import (
    Action,
    ActionState,
    Effect,
    Finding,
    Observation,
    Severity,
    Verdict,
)
from registry.ledger.database import open_ledger
from registry.observations import ObservationStore
from tests.services.processes import started
from tests.unit.flows.command_line import Answer, CommandLine, command_line, is_one_sentence
from tests.unit.registry.agent_samples import NO_LIMITS, action

__all__ = ["command_line"]

S = ActionState
CLOCK = SystemClock()


@pytest.fixture
def home(command_line: CommandLine) -> Home:
    return Home(command_line.home).create()


@pytest.fixture
def engine(home: Home) -> Iterator[Engine]:
    """The ledger of the command line's home, as the agent fills it."""
    engine = open_ledger(f"sqlite:///{home.ledger_file}")
    yield engine
    engine.dispose()


@pytest.fixture(params=["ledger", "api"])
def side(request: pytest.FixtureRequest, home: Home, tmp_path: Path) -> Iterator[str]:
    """Who answers: the ledger alone, or an API process."""
    if request.param == "ledger":
        yield "ledger"
        return
    command = [sys.executable, "-m", "serving.api"]
    env = {"PRIME_SPARK_HOME": str(home.root)}
    log = tmp_path / "api.log"
    with started(command, ready=home.api_file.exists, log=log, env=env, timeout_s=60):
        yield "api"


@pytest.fixture
def waiting(engine: Engine) -> Action:
    now = epoch(CLOCK.now())
    return ActionStore(engine, CLOCK).propose(action("a", S.WAITING_APPROVAL, at=now))


def _complete(engine: Engine, name: str) -> Action:
    store = ActionStore(engine, CLOCK)
    one = store.propose(action(name, target=name, goal=name, at=epoch(CLOCK.now())))
    one = store.begin(store.claim(one.id, "me", 30), NO_LIMITS)
    one = store.move(store.move(one, S.APPLIED, "written"), S.VERIFYING, "settled")
    effect = Effect(Verdict.IMPROVED, "12 % faster", gain=0.12, low=0.1, high=0.14)
    return store.move(one, S.COMPLETED, "12 % faster", effect=effect)


def _items(answer: Answer) -> list[dict[str, object]]:
    assert answer.code == 0, answer.err
    found = answer.json
    if isinstance(found, dict):
        found = found["items"]
    assert isinstance(found, list)
    return found


def test_without_an_agent_the_status_says_so(
    command_line: CommandLine, engine: Engine, side: str
) -> None:
    _complete(engine, "b")
    answer = command_line.run("status")
    assert answer.code == 1
    assert "agent down" in answer.out
    assert "start one: prime-spark agent" in answer.out
    assert "1 succeeded, 0 failed; total improvement 12.0%" in answer.out
    assert ("the API http" in answer.out) is (side == "api")


def test_the_status_is_the_specifications(
    command_line: CommandLine, engine: Engine, side: str
) -> None:
    beat: dict[str, JsonValue] = {
        "state": "monitoring",
        "started_at": epoch(CLOCK.now()) - 60.0,
        "loops": {},
    }
    ControlStore(engine, CLOCK).set_fact("beat", beat, "agent-1")
    answer = command_line.run("status", "--json")
    assert answer.code == 0, answer.err
    status = answer.json
    assert isinstance(status, dict)
    assert status["state"] == "monitoring"
    assert 60 <= status["uptime_seconds"] <= 90
    assert set(status) == {
        "state",
        "uptime_seconds",
        "pending_actions",
        "active_actions",
        "completed_actions",
        "goals",
        "stats",
    }


def test_the_status_is_watched(command_line: CommandLine, side: str) -> None:
    answer = command_line.run("status", "--watch", "--every", "0.05", "--times", "3")
    assert answer.out.count("agent down") == 3


def test_actions_are_listed_by_state_and_page(
    command_line: CommandLine, engine: Engine, waiting: Action, side: str
) -> None:
    for name in "bcd":
        _complete(engine, name)
    table = command_line.run("actions")
    assert table.code == 0, table.err
    assert waiting.id in table.out
    assert "20.0% expected" in table.out
    decision = waiting.decision
    likely = f"{decision.success_low:.1%} to {decision.success_high:.1%}"
    assert likely in " ".join(table.out.split())
    assert [one["action_id"] for one in _items(command_line.run("actions", "--json"))] == [
        "action-d",
        "action-c",
        "action-b",
        "action-a",
    ]
    only = command_line.run("actions", "--state", "waiting_approval", "--json")
    assert [one["action_id"] for one in _items(only)] == ["action-a"]
    page = command_line.run("actions", "--limit", "2", "--after", "action-d", "--target", "b")
    assert "action-b" in page.out
    assert "action-c" not in page.out
    first = command_line.run("actions", "--limit", "2")
    assert "--after action-c" in first.out
    wrong = command_line.run("actions", "--state", "sleeping")
    assert wrong.code == 2
    assert is_one_sentence(wrong, "waiting_approval")


def test_an_action_is_shown_with_its_story(
    command_line: CommandLine, engine: Engine, side: str
) -> None:
    _complete(engine, "b")
    shown = command_line.run("show", "action-b")
    assert shown.code == 0, shown.err
    for part in ("b.b: 4 → 8", "improved: 12 % faster", "scheduled → intent", "12.0%"):
        assert part in shown.out
    story = command_line.run("show", "action-b", "--json").json
    assert isinstance(story, dict)
    assert len(story["events"]) == 5
    for command in ("show", "explain", "approve"):
        missing = command_line.run(command, "action-none")
        assert missing.code == 2
        assert is_one_sentence(missing, "no action action-none")


def test_an_action_is_explained(command_line: CommandLine, engine: Engine, side: str) -> None:
    finding = Finding(
        "finding-1", "high_latency", "serving", "", Severity.WARNING, "p95 is 140 ms", 1.0
    )
    FindingStore(engine, CLOCK).put([finding], 1.0)
    ActionStore(engine, CLOCK).propose(action("a"))
    answer = command_line.run("explain", "action-a")
    assert answer.code == 0, answer.err
    for part in ("p95 is 140 ms", "Expected value 0.16", "Score 0.14", "it pays", "Formula:"):
        assert part in answer.out
    assert [one["text"] for one in _items(command_line.run("findings", "--json"))] == [
        "p95 is 140 ms"
    ]
    assert "high_latency" in command_line.run("findings").out


def test_an_approval_takes_effect_once(
    command_line: CommandLine, engine: Engine, waiting: Action, side: str
) -> None:
    answer = command_line.run("approve", waiting.id, "--yes", "--note", "go on")
    assert answer.code == 0, answer.err
    assert "it is scheduled now" in answer.out
    found = ActionStore(engine, CLOCK).get(waiting.id)
    assert found is not None
    assert found.state is S.SCHEDULED
    again = command_line.run("reject", waiting.id)
    assert again.code == 3
    assert is_one_sentence(again, "approved already")


def test_what_is_rejected_ends(
    command_line: CommandLine, engine: Engine, waiting: Action, side: str
) -> None:
    answer = command_line.run("reject", waiting.id, "--json")
    assert answer.code == 0, answer.err
    assert isinstance(answer.json, dict)
    assert answer.json["status"] == "rejected"
    assert ControlStore(engine, CLOCK).declined(waiting.proposal.advice_id) == 0.2


def test_another_proposal_is_not_approved(
    command_line: CommandLine, engine: Engine, waiting: Action, side: str
) -> None:
    other = replace(waiting.proposal, risk=0.1).digest
    answer = command_line.run("approve", waiting.id, "--digest", other)
    assert answer.code == 3
    assert is_one_sentence(answer, "digest")
    assert command_line.run("approve", waiting.id, "--digest", "abc").code == 2


@pytest.mark.parametrize(
    ("typed", "outcome"), [("n\n", (1, S.WAITING_APPROVAL)), ("y\n", (0, S.SCHEDULED))]
)
def test_an_approval_is_asked_for_after_the_proposal_is_shown(
    command_line: CommandLine,
    engine: Engine,
    waiting: Action,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    outcome: tuple[int, ActionState],
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    answer = command_line.run("approve", waiting.id)
    for part in ("serving.a: 4 → 8", "Expected value 0.16", "Approve this?"):
        assert part in answer.out
    found = ActionStore(engine, CLOCK).get(waiting.id)
    assert found is not None
    assert (answer.code, found.state) == outcome


def test_the_agent_is_paused_and_resumed(
    command_line: CommandLine, engine: Engine, home: Home, side: str
) -> None:
    control = ControlStore(engine, CLOCK)
    assert "release day" in command_line.run("pause", "release day").out
    assert control.paused().paused
    assert "paused by" in command_line.run("status").out
    home.pause_file.write_text("by hand")
    answer = command_line.run("resume", "--json")
    assert isinstance(answer.json, dict)
    assert answer.json["paused"] is False
    assert not control.paused(home.pause_file).paused


def test_goals_are_shown_set_and_removed(command_line: CommandLine, side: str) -> None:
    assert "≤ 75" in command_line.run("goals").out
    change = ("goals", "set", "cpu_percent", "70", "--direction", "minimize", "--weight", "2")
    assert command_line.run(*change).code == 0
    names = [one["goal_id"] for one in _items(command_line.run("goals", "--json"))]
    assert names == ["inference_latency_ms", "cache_hit_rate", "cpu_percent"]
    assert command_line.run("goals", "remove", "cpu_percent").code == 0
    gone = command_line.run("goals", "remove", "cpu_percent")
    assert gone.code == 2
    assert is_one_sentence(gone, "no goal cpu_percent")
    assert command_line.run("goals", "set", "x", "nan", "--direction", "minimize").code == 2


def test_learning_and_targets_are_shown(
    command_line: CommandLine, engine: Engine, side: str
) -> None:
    LearningStore(engine, CLOCK).record(
        action("a"), lambda known: replace(known, successes=known.successes + 1, updated_at=5.0)
    )
    rows = _items(command_line.run("learn", "--json"))
    assert {(one["type"], one["target"]) for one in rows} == {
        ("batch_inference", ""),
        ("batch_inference", "serving"),
    }
    assert "100.0%" in command_line.run("learn").out
    assert isinstance(command_line.run("targets", "--json").json, list)
    assert command_line.run("targets").code == 0


def test_a_knob_that_was_left_alone_is_released(command_line: CommandLine, engine: Engine) -> None:
    control = ControlStore(engine, CLOCK)
    control.hold_knob("serving", "max_wait_ms", "a person turned it")
    assert command_line.run("targets", "release", "serving", "max_wait_ms").code == 0
    assert control.held() == {}
    assert command_line.run("targets", "release", "serving", "max_wait_ms").code == 2


def test_the_audit_is_proved_and_exported(
    command_line: CommandLine, engine: Engine, tmp_path: Path
) -> None:
    _complete(engine, "b")
    answer = command_line.run("audit", "verify")
    assert answer.code == 0
    assert "all 5 entries" in answer.out
    lines = command_line.run("audit", "export").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2, 3, 4, 5]
    file = tmp_path / "audit.jsonl"
    assert command_line.run("audit", "export", "-o", str(file), "--after", "3").code == 0
    assert file.read_text().splitlines() == lines[3:]
    again = command_line.run("audit", "export", "-o", str(file))
    assert again.code == 2, "an export is not overwritten"
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER events_no_UPDATE")
        connection.exec_driver_sql("UPDATE events SET body = '{}' WHERE id = 2")
    broken = command_line.run("audit", "verify", "--json")
    assert broken.code == 1
    assert isinstance(broken.json, dict)
    assert (broken.json["ok"], broken.json["broken_id"]) == (False, 2)


def test_an_api_that_died_leaves_the_ledger(command_line: CommandLine, home: Home) -> None:
    home.api_file.write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": 1}))
    answer = command_line.run("status")
    assert "no API runs" in answer.out


def test_a_token_that_does_not_hold_is_told(command_line: CommandLine, home: Home) -> None:
    command = [sys.executable, "-m", "serving.api"]
    env = {"PRIME_SPARK_HOME": str(home.root)}
    log = home.logs / "api.log"
    with started(command, ready=home.api_file.exists, log=log, env=env, timeout_s=60):
        home.api_token_file.write_text("ps_wrong\n")
        answer = command_line.run("actions")
    assert answer.code == 2
    assert is_one_sentence(answer, "refuses the token")


def test_a_replay_needs_observations(command_line: CommandLine) -> None:
    answer = command_line.run("simulate", "--last", "1h")
    assert answer.code == 2
    assert is_one_sentence(answer, "nothing was observed")
    wrong = command_line.run("simulate", "--last", "a while")
    assert is_one_sentence(wrong, "7d")
    assert command_line.run("simulate", "--set", "Nothing").code == 2


def test_a_replay_tells_what_would_have_been_done(
    command_line: CommandLine, engine: Engine
) -> None:
    now = epoch(CLOCK.now())
    seen = [Observation("host", "cpu_percent", 50.0, now - 30.0 * step) for step in range(60)]
    ObservationStore(engine).record(seen)
    change = "monitoring.optimization_interval_seconds=60"
    answer = command_line.run("simulate", "--last", "2h", "--set", change, "--json")
    assert answer.code == 0, answer.err
    assert isinstance(answer.json, dict)
    assert answer.json["cycles"] == 30
    assert answer.json["would"] == []
    assert "cycles" in command_line.run("simulate", "--last", "2h").out


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400.0), ("7d", 604_800.0), ("1.5h", 5400.0), ("30s", 30.0)]
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert span_of(text) == seconds


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("AGENT__CAPABILITIES", "model_promote,make_coffee", "known are: "),
        ("AGENT__TARGETS", "moon", "moon"),
        ("AGENT__NOTIFIERS", "pigeon", "known are: "),
        ("AGENT__MAINTENANCE_WINDOWS", '["at night"]', "at night"),
        ("API__HOST", "0.0.0.0", "api.tls_certificate"),
    ],
)
def test_settings_the_agent_could_not_start_with_are_found(
    command_line: CommandLine, variable: str, value: str, told: str
) -> None:
    assert command_line.run("config", "check").code == 0
    answer = command_line.run("config", "check", environ={f"PRIME_SPARK_{variable}": value})
    assert answer.code == 2
    assert is_one_sentence(answer, told)


def test_a_shell_gets_completion(command_line: CommandLine) -> None:
    answer = command_line.run("--show-completion", "bash")
    assert answer.code == 0
    assert "_PRIME_SPARK_COMPLETE" in answer.out
