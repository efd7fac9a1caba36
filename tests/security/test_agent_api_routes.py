"""Hostile input on every route of the real agent API: no 5xx, no write without the right scope."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from config.clock import SystemClock
from registry.agent_approvals import ApprovalStore
from registry.ledger.database import open_ledger
from registry.ledger.events import EventLog
from tests.services.agent_api import RunningApi, proposed, running_api

BODY_LIMIT = 8 * 1024
PAGES = (
    "/agent",
    "/agent/status",
    "/agent/goals",
    "/agent/cycle",
    "/agent/pause",
    "/agent/actions",
    "/agent/actions/recent",
    "/agent/proposals",
    "/agent/findings",
    "/agent/targets",
    "/agent/models",
    "/agent/experiments",
    "/agent/learning",
    "/agent/metrics",
    "/agent/metrics/history",
    "/agent/audit",
    "/agent/audit/verify",
    "/agent/tokens",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
)
QUERY = (
    *("after", "limit", "count", "state", "type", "target", "metric", "kind", "subject"),
    *("model", "since", "until", "step", "cleared"),
)
NAMES = ("%00", "%ff", "..%2f..%2fetc", "a" * 5000, "%ed%a0%80", "'--", "{}", "%0d%0ax", "a%20b")
ONE_OF = ("/agent/actions/", "/agent/models/", "/agent/experiments/", "/agent/tokens/")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with running_api(
        tmp_path_factory.mktemp("hostile-api"),
        API__MAX_BODY_BYTES=BODY_LIMIT,
        API__REQUESTS_PER_MINUTE=1_000_000,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def ledger_of_api(api: RunningApi) -> Iterator[Engine]:
    engine = open_ledger(f"sqlite:///{api.home.ledger_file}")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def admin(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.fixture(scope="module")
def secrets(admin: httpx.Client) -> dict[str, str]:
    """A token of each scope but the highest, and some that are none."""
    made = {
        scope: admin.post("/agent/tokens", json={"name": f"of-{scope}", "scope": scope})
        for scope in ("read", "approve")
    }
    found = {scope: str(answer.json()["token"]) for scope, answer in made.items()}
    return found | {"nobody": "", "guessed": "ps_" + "A" * 43}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["action-1", "minimize", "read", "\x00", 1e39, -1, 2**63]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["action_id", "approved", "goals", "reason", "name", "scope"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
ids = st.sampled_from(["action-1", "nope"]) | st.text(max_size=30) | json_values
approvals = st.fixed_dictionaries(
    {"action_id": ids, "approved": st.booleans() | json_values},
    optional={"digest": st.text(max_size=70) | json_values, "note": st.text() | json_values},
)
goals = st.fixed_dictionaries(
    {
        "metric_name": st.text(max_size=10) | json_values,
        "target_value": st.floats() | json_values,
        "direction": st.sampled_from(["minimize", "maximize"]) | json_values,
    },
    optional={"weight": st.floats() | json_values, "goal_id": st.text() | json_values},
)
BODIES = {
    ("POST", "/agent/action/approve"): approvals,
    ("POST", "/agent/pause"): st.fixed_dictionaries({"reason": st.text() | json_values}),
    ("POST", "/agent/resume"): json_values,
    ("PUT", "/agent/goals"): st.fixed_dictionaries(
        {"goals": st.lists(goals | json_values, max_size=3) | json_values}
    ),
    ("POST", "/agent/tokens"): st.fixed_dictionaries(
        {"name": st.text(max_size=10) | json_values, "scope": json_values}
    ),
}
WRITES = sorted([*BODIES, ("DELETE", "/agent/tokens/of-read")])
FORBIDDEN = [
    (who, route)
    for who in ("nobody", "guessed", "read", "approve")
    for route in WRITES
    if not (who == "approve" and route[1] in {"/agent/action/approve", "/agent/pause"})
]


query_values = (
    st.text(max_size=30)
    | st.integers(-(2**70), 2**70).map(str)
    | st.sampled_from(["", "\x00", "9" * 400, "nan", "0001-01-01T00:00:00+14:00", "1e308"])
    | st.sampled_from(["9999-12-31T23:59:59-14:00", "-1e308", "waiting_approval", "action-1"])
)
queries = st.lists(st.tuples(st.sampled_from(QUERY), query_values), max_size=4)


def is_honest(answer: httpx.Response) -> bool:
    """Tell whether an answer is a result or one sentence about the client's mistake."""
    if answer.status_code < 300:
        return True
    problem = answer.json()
    typed = answer.headers["content-type"] == "application/problem+json"
    return 400 <= answer.status_code < 500 and typed and isinstance(problem["detail"], str)


@pytest.mark.parametrize("route", BODIES, ids=" ".join)
def test_any_json_is_answered_or_refused(admin: httpx.Client, route: tuple[str, str]) -> None:
    @settings(max_examples=120)
    @given(BODIES[route] | json_values)
    def check(body: object) -> None:
        content = json.dumps(body).encode()  # NaN and Infinity included, which JSON does not know
        kind = {"content-type": "application/json"}
        answer = admin.request(*route, content=content, headers=kind)
        assert is_honest(answer), (answer.status_code, answer.text)

    check()


@pytest.mark.parametrize("route", BODIES, ids=" ".join)
def test_any_bytes_and_headers_are_answered_or_refused(
    admin: httpx.Client, route: tuple[str, str]
) -> None:
    printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
    kinds = st.sampled_from(["application/json", "text/html", ""])

    @settings(max_examples=60)
    @given(st.binary(max_size=200), kinds, printable)
    def check(body: bytes, kind: str, extra: str) -> None:
        headers = {"content-type": kind, "last-event-id": extra, "accept": extra, "origin": extra}
        for chosen in (headers, {"content-type": kind}):
            answer = admin.request(*route, content=body, headers=chosen)
            assert is_honest(answer), (answer.status_code, answer.text)

    check()


@pytest.mark.parametrize("page", PAGES)
def test_any_query_is_answered_or_refused(admin: httpx.Client, page: str) -> None:
    @settings(max_examples=60)
    @given(queries)
    def check(query: list[tuple[str, str]]) -> None:
        answer = admin.get(page, params=_sendable(query))
        assert is_honest(answer), (answer.status_code, answer.text, query)

    check()


def _sendable(query: list[tuple[str, str]]) -> httpx.QueryParams:
    plain = [(name, value.encode("utf-8", "replace").decode()) for name, value in query]
    return httpx.QueryParams(tuple(plain))


@pytest.mark.parametrize("folder", ONE_OF)
def test_any_name_is_answered_or_refused(admin: httpx.Client, folder: str) -> None:
    for method in ("GET", "DELETE"):
        for name in (
            "%00",
            "%ff",
            "..%2f..%2fetc",
            "a" * 5000,
            "%ed%a0%80",
            "'--",
            "{}",
            "%0d%0ax",
        ):
            for tail in ("", "/explain"):
                answer = admin.request(method, folder + name + tail)
                assert is_honest(answer), (method, folder, name, answer.text)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_any_method_on_any_path_is_answered_or_refused(admin: httpx.Client, method: str) -> None:
    for path in (*PAGES, *(path for _, path in WRITES), *ONE_OF, "/", "//", "/agent/../x"):
        assert admin.request(method, path).status_code < 500, (method, path)


def test_deep_nesting_and_huge_numbers_are_refused(admin: httpx.Client) -> None:
    kind = {"content-type": "application/json"}
    for body in (
        b'{"goals":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"goals":[{"target_value":' + b"9" * 5000 + b"}]}",
        b'{"goals":' * 900,
        b"[" * 8000,
    ):
        answer = admin.put("/agent/goals", content=body, headers=kind)
        assert answer.status_code in (400, 422), answer.text


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(admin: httpx.Client) -> None:
    kind = {"content-type": "application/json"}
    whole = admin.post("/agent/pause", content=b" " * (BODY_LIMIT + 1), headers=kind)
    pieces = (b" " * 1024 for _ in range(BODY_LIMIT // 1024 + 1))
    parts = admin.post("/agent/pause", content=pieces, headers=kind)
    assert [whole.status_code, parts.status_code] == [413, 413]


def test_clients_that_go_away_harm_nobody(api: RunningApi, admin: httpx.Client) -> None:
    port = int(api.url.rpartition(":")[2])
    for head in (
        b"POST /agent/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf",
        b"GET /agent/status HTTP/1.1\r\nHo",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /agent/status HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(head)
    assert admin.get("/agent/status").status_code == 200


@pytest.mark.parametrize(("who", "route"), FORBIDDEN, ids="".join)
def test_nothing_is_written_without_the_right_scope(
    api: RunningApi,
    ledger_of_api: Engine,
    secrets: dict[str, str],
    who: str,
    route: tuple[str, str],
) -> None:
    proposed(ledger_of_api, SystemClock(), 1)
    log = EventLog(ledger_of_api, SystemClock())
    before = log.last_id(), api.home.api_tokens_file.read_bytes()

    @settings(max_examples=15)
    @given(BODIES.get(route, st.none()) | st.just({"action_id": "action-1", "approved": True}))
    def check(body: object) -> None:
        content = json.dumps(body).encode()
        kind = {"content-type": "application/json"}
        with api.client(secrets[who] or "x") as client:
            answer = client.request(*route, content=content, headers=kind)
        assert answer.status_code in (401, 403), answer.text

    check()
    assert (log.last_id(), api.home.api_tokens_file.read_bytes()) == before


def test_a_hundred_approvals_at_once_take_effect_once(
    api: RunningApi, ledger_of_api: Engine
) -> None:
    proposed(ledger_of_api, SystemClock(), 900)
    found = _approve_at_once(api, "action-900", 100)
    assert found == Counter({200: 1, 409: 99})
    assert _effects(ledger_of_api, "action-900") == (1, 1)


@pytest.mark.postgres
def test_a_hundred_approvals_at_once_take_effect_once_on_postgresql(
    tmp_path: Path, postgres_url: str
) -> None:
    engine = open_ledger(postgres_url)
    proposed(engine, SystemClock(), 901)
    with running_api(tmp_path, LEDGER__URL=postgres_url) as running:
        found = _approve_at_once(running, "action-901", 100)
    assert found == Counter({200: 1, 409: 99})
    assert _effects(engine, "action-901") == (1, 1)
    engine.dispose()


@pytest.mark.postgres
def test_any_query_and_name_is_answered_or_refused_on_postgresql(
    tmp_path: Path, postgres_url: str
) -> None:
    names = st.sampled_from([folder + name for folder in ONE_OF for name in NAMES])

    with (
        running_api(tmp_path, LEDGER__URL=postgres_url, API__REQUESTS_PER_MINUTE=1_000_000) as api,
        api.client() as admin,
    ):

        @settings(max_examples=300)
        @given(st.sampled_from(PAGES) | names, queries)
        def check(page: str, query: list[tuple[str, str]]) -> None:
            answer = admin.get(page, params=_sendable(query))
            assert is_honest(answer), (answer.status_code, answer.text, page, query)

        check()


def _approve_at_once(api: RunningApi, action_id: str, callers: int) -> Counter[int]:
    together = threading.Barrier(callers)

    def approve(number: int) -> int:
        # Half of them say yes, half of them no.
        body = {"action_id": action_id, "approved": number % 2 == 0}
        with api.client() as client:
            client.get("/health/live")  # connected before all go
            together.wait(60.0)
            return client.post("/agent/action/approve", json=body).status_code

    with ThreadPoolExecutor(callers) as pool:
        return Counter(pool.map(approve, range(callers)))


def _effects(engine: Engine, action_id: str) -> tuple[int, int]:
    """How many decisions there are on an action, and how many events tell of one."""
    kept = ApprovalStore(engine, SystemClock()).of_action(action_id)
    events = EventLog(engine, SystemClock()).list(subject=action_id, kind="approval")
    return len(kept), len(events)


def test_its_own_description_holds(api: RunningApi, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {api.token}"]
    # A stream never ends; the server's own tests have it.
    command += ["--exclude-path", "/agent/events"]
    command += [
        "--checks",
        "not_a_server_error,content_type_conformance,response_schema_conformance",
    ]
    command += ["--max-examples", "10", "--seed", "7", "--suppress-health-check", "all"]
    command += ["--phases", "examples,coverage,fuzzing"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
