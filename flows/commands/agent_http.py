"""The agent's API asked over HTTP, with the command line's own token."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from config.errors import ConflictError, InputError, PrimeSparkError, UnavailableError
from config.paths import Home
from config.redaction import redact
from serving.api.answers import (
    ActionStory,
    ActionSummary,
    AgentAnswer,
    ApproveAnswer,
    ApproveQuestion,
    ExplainAnswer,
    FindingAnswer,
    GoalAnswer,
    GoalQuestion,
    GoalsQuestion,
    Page,
    PauseAnswer,
    PauseQuestion,
    Status,
)
from serving.api.world_answers import LearnedAnswer, TargetAnswer

if TYPE_CHECKING:
    from flows.commands.agent_side import ActionQuery

T = TypeVar("T")
Params = Mapping[str, str | int | Sequence[str]]

_LOOK_S = 2.0
_ANSWER_S = 30.0


class HttpSide:
    """Answers from the API at `url`.

    Args:
        certificate: of a TLS server that vouches for itself; None for what everybody trusts.
    """

    def __init__(self, url: str, home: Home, certificate: Path | None = None) -> None:
        self._url = url
        self._home = home
        verify: ssl.SSLContext | bool = url.startswith("https:")
        if verify and certificate is not None:
            verify = ssl.create_default_context(cafile=str(certificate.expanduser()))
        # The API is on this machine: proxies of the environment have no part in it.
        self._http = httpx.Client(
            base_url=url, timeout=_ANSWER_S, verify=verify, trust_env=False, headers=self._token()
        )

    @property
    def where(self) -> str:
        """The API's address."""
        return f"the API {redact(self._url)}"

    def is_there(self) -> bool:
        """Return whether an API answers; a file left by one that died names none."""
        try:
            return self._http.get("/health/live", timeout=_LOOK_S).is_success
        except httpx.HTTPError:
            return False

    def status(self) -> Status:
        """Return the agent at a glance."""
        return self._get("/agent/status", Status)

    def agent(self) -> AgentAnswer:
        """Return whether the agent lives and what its loops do."""
        return self._get("/agent", AgentAnswer)

    def actions(self, query: ActionQuery) -> Page[ActionSummary]:
        """Return a page of actions, the newest first."""
        params: dict[str, str | int | Sequence[str]] = {
            "limit": query.limit,
            "state": list(query.states),
        }
        optional = {"type": query.type, "target": query.target, "after": query.after}
        params |= {name: value for name, value in optional.items() if value is not None}
        return self._get("/agent/actions", Page[ActionSummary], params)

    def action(self, action_id: str) -> ActionStory:
        """Return everything known of an action."""
        return self._get(f"/agent/actions/{quote(action_id, safe='')}", ActionStory)

    def explain(self, action_id: str) -> ExplainAnswer:
        """Return why an action was decided as it was."""
        return self._get(f"/agent/actions/{quote(action_id, safe='')}/explain", ExplainAnswer)

    def decide(self, question: ApproveQuestion) -> ApproveAnswer:
        """Approve or reject an action."""
        body = question.model_dump(mode="json")
        return self._send("POST", "/agent/action/approve", ApproveAnswer, body)

    def pause(self, reason: str) -> PauseAnswer:
        """Stop new effects."""
        body = PauseQuestion(reason=reason).model_dump(mode="json")
        return self._send("POST", "/agent/pause", PauseAnswer, body)

    def resume(self) -> PauseAnswer:
        """Let the agent act again."""
        return self._send("POST", "/agent/resume", PauseAnswer, None)

    def goals(self) -> list[GoalAnswer]:
        """Return the goals and how far each is reached."""
        return self._get("/agent/goals", list[GoalAnswer])

    def set_goals(self, goals: Sequence[GoalQuestion]) -> list[GoalAnswer]:
        """Replace all goals."""
        body = GoalsQuestion(goals=list(goals)).model_dump(mode="json")
        return self._send("PUT", "/agent/goals", list[GoalAnswer], body)

    def targets(self, after: str | None = None) -> Page[TargetAnswer]:
        """Return a page of the targets and how they answered last."""
        return self._get("/agent/targets", Page[TargetAnswer], _after(after))

    def findings(self, after: str | None = None) -> Page[FindingAnswer]:
        """Return a page of what was found and still holds."""
        return self._get("/agent/findings", Page[FindingAnswer], _after(after))

    def learned(self, after: str | None = None) -> Page[LearnedAnswer]:
        """Return a page of what was learned."""
        return self._get("/agent/learning", Page[LearnedAnswer], _after(after))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _token(self) -> dict[str, str]:
        try:
            token = self._home.api_token_file.read_text(encoding="utf-8").strip()
        except OSError:
            return {}  # the API then says what is missing
        return {"authorization": f"Bearer {token}"}

    def _get(self, path: str, shape: type[T], params: Params | None = None) -> T:
        return self._read(
            httpx.Request("GET", self._http.base_url.join(path), params=params), shape
        )

    def _send(self, method: str, path: str, shape: type[T], body: object) -> T:
        url = self._http.base_url.join(path)
        return self._read(httpx.Request(method, url, json=body), shape)

    def _read(self, request: httpx.Request, shape: type[T]) -> T:
        request.headers.update(self._http.headers)
        try:
            response = self._http.send(request)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the agent's API {redact(self._url)} does not answer "
                f"({str(error) or type(error).__name__}); see its log"
            ) from error
        if not response.is_success:
            raise _refusal(response, self._home)
        try:
            return TypeAdapter(shape).validate_json(response.content)
        except ValidationError as error:
            raise UnavailableError(
                f"the agent's API {redact(self._url)} answers in another shape; it is of another "
                "version, start it again"
            ) from error


def _after(after: str | None) -> Params:
    return {"limit": 200} | ({"after": after} if after is not None else {})


def _refusal(response: httpx.Response, home: Home) -> PrimeSparkError:
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"the agent's API answers {response.status_code}"
    status = response.status_code
    if status in {401, 403}:
        return InputError(
            f"the agent's API refuses the token in {home.api_token_file}: {detail.rstrip('.')}"
        )
    if status == 409:
        return ConflictError(detail)
    if status == 429 or status >= 500:
        return UnavailableError(detail)
    return InputError(detail)
