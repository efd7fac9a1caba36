"""The routes: the specification's fields, scopes, problems, pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from config.clock import ManualClock
from config.settings import ApiSettings, Settings
from registry.agent_actions import ActionStore
from registry.agent_records import ActionState, StartLimits
from registry.ledger.database import open_ledger
from serving.api.app import create_app
from serving.api.tokens import Scope, TokenFile
from tests.services.agent_api import proposed

STATUS_FIELDS = {
    "state",
    "uptime_seconds",
    "pending_actions",
    "active_actions",
    "completed_actions",
    "goals",
    "stats",
}
STATS_FIELDS = {"total_actions", "successful_actions", "failed_actions", "total_improvement"}
GOAL_FIELDS = {
    "goal_id",
    "metric_name",
    "target_value",
    "current_value",
    "direction",
    "weight",
    "achieved",
    "progress",
}
RECENT_FIELDS = {"action_id", "type", "description", "status", "executed_at", "result"}


async def test_the_status_has_exactly_the_specifications_fields(
    client: httpx.AsyncClient,
) -> None:
    answer = (await client.get("/agent/status")).json()
    assert set(answer) == STATUS_FIELDS
    assert set(answer["stats"]) == STATS_FIELDS
    assert set(answer["goals"][0]) == {"metric", "target", "current", "achieved"}


async def test_goals_have_exactly_the_specifications_fields(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/agent/goals")).json()
    assert [set(goal) for goal in answer] == [GOAL_FIELDS, GOAL_FIELDS]


async def test_recent_actions_have_exactly_the_specifications_fields(
    client: httpx.AsyncClient, engine: Engine, clock: ManualClock
) -> None:
    store = ActionStore(engine, clock)
    action = proposed(engine, clock, 1, ActionState.SCHEDULED)
    action = store.begin(action, StartLimits(9, 99, 99, 0.0))
    store.move(store.move(action, ActionState.APPLIED, "done"), ActionState.COMPLETED, "done")
    (recent,) = (await client.get("/agent/actions/recent?count=5")).json()
    assert set(recent) == RECENT_FIELDS
    assert set(recent["result"]) == {"success", "actual_improvement"}
    assert recent["executed_at"] == "2025-06-01T12:00:00Z"


async def test_the_count_of_recent_actions_is_ten_unless_asked_otherwise(
    client: httpx.AsyncClient, engine: Engine, clock: ManualClock
) -> None:
    for number in range(12):
        proposed(engine, clock, number)
    ten = await client.get("/agent/actions/recent")
    assert len(ten.json()) == 10
    rest = await client.get(ten.links["next"]["url"])
    assert len(rest.json()) == 2
    assert (await client.get("/agent/actions/recent?count=0")).status_code == 422


async def test_approving_takes_the_specifications_request(
    client: httpx.AsyncClient, engine: Engine, clock: ManualClock
) -> None:
    proposed(engine, clock, 1)
    body = {"action_id": "action-1", "approved": True}
    first = await client.post("/agent/action/approve", json=body)
    again = await client.post("/agent/action/approve", json=body)
    assert (first.status_code, first.json()["status"], first.json()["by"]) == (
        200,
        "scheduled",
        "cli",
    )
    assert again.status_code == 409
    assert "approved already, by cli" in again.json()["detail"]


async def test_rejecting_ends_the_action(
    client: httpx.AsyncClient, engine: Engine, clock: ManualClock
) -> None:
    proposed(engine, clock, 1)
    body = {"action_id": "action-1", "approved": False, "note": "not today"}
    answer = await client.post("/agent/action/approve", json=body)
    assert answer.json()["status"] == "rejected"


async def test_the_proposer_cannot_approve_under_the_two_person_rule(
    engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    agent = api_settings.agent.model_copy(update={"two_person_rule": True})
    settings = api_settings.model_copy(update={"agent": agent})
    settings.home_dir.create()
    app = create_app(engine, settings, clock)
    tokens = TokenFile(settings.home_dir, clock)
    proposed(engine, clock, 1, by="anna")
    body = {"action_id": "action-1", "approved": True}
    assert (await _post_as(app, tokens, "anna", body)).status_code == 409
    assert (await _post_as(app, tokens, "bert", body)).status_code == 200


async def _post_as(
    app: FastAPI, tokens: TokenFile, name: str, body: dict[str, object]
) -> httpx.Response:
    _, secret = tokens.make(name, Scope.APPROVE)
    async with _client(app, secret) as client:
        return await client.post("/agent/action/approve", json=body)


def _client(app: FastAPI, secret: str | None) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


OPEN = {("GET", "/health/live"), ("GET", "/health/ready")}
WRITES = {
    ("POST", "/agent/action/approve"): Scope.APPROVE,
    ("POST", "/agent/pause"): Scope.APPROVE,
    ("POST", "/agent/resume"): Scope.ADMIN,
    ("PUT", "/agent/goals"): Scope.ADMIN,
    ("GET", "/agent/audit/export"): Scope.ADMIN,
    ("GET", "/agent/tokens"): Scope.ADMIN,
    ("POST", "/agent/tokens"): Scope.ADMIN,
    ("DELETE", "/agent/tokens/{name}"): Scope.ADMIN,
}


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    paths = app.openapi()["paths"]
    return sorted((method.upper(), path) for path, one in paths.items() for method in one)


async def test_every_route_asks_for_its_scope(
    app: FastAPI, api_settings: Settings, clock: ManualClock
) -> None:
    tokens = TokenFile(api_settings.home_dir, clock)
    secrets = {scope: tokens.make(scope.value, scope)[1] for scope in Scope}
    found = {}
    for method, path in _routes(app):
        if path == "/agent/events":  # it never ends; the server's tests have it
            continue
        url = path.replace("{", "").replace("}", "")
        allowed = []
        for scope in (None, *Scope):
            async with _client(app, secrets[scope] if scope else None) as client:
                answer = await client.request(method, url)
            if answer.status_code not in (401, 403):
                allowed.append(scope)
        found[method, path] = allowed
    everybody = [None, *Scope]
    expected = {
        route: everybody
        if route in OPEN
        else [scope for scope in Scope if scope.covers(WRITES.get(route, Scope.READ))]
        for route in found
    }
    assert found == expected
    assert WRITES.keys() <= found.keys()


def test_its_description_says_how_to_come_in(app: FastAPI) -> None:
    document = app.openapi()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    closed = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
        if route.get("security")
    }
    assert closed == set(_routes(app)) - OPEN


async def test_without_a_token_the_answer_says_where_to_get_one(app: FastAPI) -> None:
    async with _client(app, None) as client:
        answer = await client.get("/agent/status")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secrets/api-token" in answer.json()["detail"]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer x y", "bearer ps_wrong", "Bearer ps_\xe4"],
)
async def test_what_is_no_token_opens_nothing(app: FastAPI, header: str) -> None:
    async with _client(app, None) as client:
        answer = await client.get(
            "/agent/status", headers=[(b"authorization", header.encode("latin-1"))]
        )
    assert answer.status_code == 401


async def test_requests_from_other_pages_are_refused(client: httpx.AsyncClient) -> None:
    foreign = [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
    ]
    for headers in foreign:
        answer = await client.post("/agent/pause", json={}, headers=headers)
        assert answer.status_code == 403, headers
    own = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
    assert (await client.post("/agent/pause", json={}, headers=own)).status_code == 200


async def test_a_host_name_that_was_pointed_here_is_refused(client: httpx.AsyncClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost@evil.example:1"):
        answer = await client.get("/agent/status", headers={"host": host})
        assert answer.status_code in (403, 421), host


async def test_answers_carry_no_cookie_and_are_not_kept(client: httpx.AsyncClient) -> None:
    answer = await client.get("/agent/status")
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


async def test_errors_are_problems_with_a_sentence(client: httpx.AsyncClient) -> None:
    answers = [
        await client.get("/agent/actions/nope"),
        await client.get("/nowhere"),
        await client.delete("/agent/status"),
        await client.get("/agent/actions?state=nope"),
        await client.post("/agent/action/approve", json={"action_id": "nope", "approved": True}),
        await client.post("/agent/action/approve", json={"action_id": "x", "approved": 3, "y": 1}),
        await client.post("/agent/pause", content=b"reason=x"),
    ]
    assert [one.status_code for one in answers] == [404, 404, 405, 422, 404, 422, 415]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) >= {"type", "title", "status", "detail"}
        assert answer.json()["status"] == answer.status_code


async def test_a_page_has_at_most_what_the_settings_allow(
    engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    settings = api_settings.model_copy(update={"api": ApiSettings(max_page=3)})
    settings.home_dir.create()
    app = create_app(engine, settings, clock)
    for number in range(5):
        proposed(engine, clock, number)
    async with _client(app, settings.home_dir.api_token_file.read_text().strip()) as client:
        page = (await client.get("/agent/actions?limit=100")).json()
        recent = (await client.get("/agent/actions/recent?count=100")).json()
        audit = (await client.get("/agent/audit?limit=100")).json()
    assert [len(page["items"]), len(recent), len(audit["items"])] == [3, 3, 3]
    assert (page["next"], audit["next"]) == ("action-2", "3")


async def test_too_many_requests_are_told_to_wait(
    engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    settings = api_settings.model_copy(update={"api": ApiSettings(requests_per_minute=2)})
    settings.home_dir.create()
    app = create_app(engine, settings, clock)
    async with _client(app, settings.home_dir.api_token_file.read_text().strip()) as client:
        codes = [(await client.get("/agent/status")).status_code for _ in range(3)]
        clock.advance(30.0)
        codes.append((await client.get("/agent/status")).status_code)
    assert codes == [200, 200, 429, 200]


async def test_strangers_use_up_nothing_of_a_token(
    engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    settings = api_settings.model_copy(update={"api": ApiSettings(requests_per_minute=2)})
    settings.home_dir.create()
    app = create_app(engine, settings, clock)
    async with _client(app, "ps_guessed") as stranger:
        codes = [(await stranger.get("/agent/status")).status_code for _ in range(3)]
        assert (await stranger.get("/health/live")).status_code == 200
    assert codes == [401, 401, 429]
    async with _client(app, settings.home_dir.api_token_file.read_text().strip()) as client:
        assert (await client.get("/agent/status")).status_code == 200


async def test_tokens_are_made_shown_once_and_revoked(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    made = await client.post("/agent/tokens", json={"name": "grafana", "scope": "read"})
    secret = made.json()["token"]
    async with _client(app, secret) as reader:
        assert (await reader.get("/agent/status")).status_code == 200
        assert (await reader.post("/agent/pause", json={})).status_code == 403
        listed = await client.get("/agent/tokens")
        assert secret not in listed.text
        assert [one["name"] for one in listed.json()["items"]] == ["cli", "grafana"]
        assert (await client.delete("/agent/tokens/grafana")).status_code == 204
        assert (await reader.get("/agent/status")).status_code == 401
    kinds = [one["kind"] for one in (await client.get("/agent/audit")).json()["items"]]
    assert kinds == ["token", "token"]


async def test_the_export_can_be_checked_word_for_word(
    client: httpx.AsyncClient, engine: Engine, clock: ManualClock
) -> None:
    for number in range(3):
        proposed(engine, clock, number)
    lines = (await client.get("/agent/audit/export")).text.splitlines()
    assert len(lines) == 3
    assert (await client.get("/agent/audit/verify")).json()["ok"] is True


async def test_secrets_in_records_are_masked(
    client: httpx.AsyncClient, engine: Engine, clock: ManualClock
) -> None:
    action = proposed(engine, clock, 1, ActionState.SCHEDULED)
    ActionStore(engine, clock).move(
        action, ActionState.FAILED, "postgresql://ann:hunter2@db/x refused"
    )
    for path in (
        "/agent/actions",
        "/agent/actions/action-1",
        "/agent/audit",
        "/agent/actions/recent",
    ):
        assert "hunter2" not in (await client.get(f"/agent{path}")).text, path


async def test_prometheus_can_read_the_agents_numbers(
    client: httpx.AsyncClient, engine: Engine, clock: ManualClock
) -> None:
    proposed(engine, clock, 1)
    await client.get("/agent/status")
    page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        "prime_spark_agent_up 0.0",
        'prime_spark_agent_actions{state="waiting_approval"} 1.0',
        'prime_spark_agent_goal_target{goal="cache_hit_rate",metric="cache_hit_rate"} 0.9',
        'prime_spark_api_answers_total{method="GET",route="/agent/status",status="200"} 1.0',
    ):
        assert line in page.text.splitlines()
    assert "prime_spark_agent_goal_current{" not in page.text


async def test_health_needs_no_token_and_tells_of_the_agent(app: FastAPI) -> None:
    async with _client(app, None) as client:
        assert (await client.get("/health/live")).json() == {"live": True}
        assert (await client.get("/health/ready")).json() == {"ready": True, "agent": "down"}


async def test_without_the_ledger_it_lives_and_is_not_ready(
    tmp_path: Path, api_settings: Settings, clock: ManualClock
) -> None:
    api_settings.home_dir.create()
    folder = tmp_path / "disk"
    engine = open_ledger(f"sqlite:///{folder}/api.db")
    app = create_app(engine, api_settings, clock)
    engine.dispose()
    shutil.rmtree(folder)
    async with _client(app, None) as client:
        assert (await client.get("/health/live")).status_code == 200
        ready = await client.get("/health/ready")
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    assert "ledger" in ready.json()["detail"]
