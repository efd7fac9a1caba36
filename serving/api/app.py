"""Puts the API together: gate, routes, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from sqlalchemy import Engine

from config.clock import Clock
from config.settings import Settings
from serving.api.feed import Feed
from serving.api.gate import Gate
from serving.api.limits import RateLimit
from serving.api.problems import answer_problems
from serving.api.routes import actions, agent, audit, health, measured, world
from serving.api.routes.sharing import Desk
from serving.api.stores import AgentStores
from serving.api.texts import CleanJson
from serving.api.tokens import TokenFile

# Together with the feed's, no more than the ledger has connections (SQLAlchemy's default, 15).
_THREADS = 12

_DESCRIPTION = (
    "What the Prime Spark agent does and why, and what people may do about it. Send "
    "`Authorization: Bearer <token>`. A token of scope read may ask; approve may also approve, "
    "reject and pause; admin may do everything: resume, set goals, export, make tokens. Lists "
    "come in pages: ask again with `after` set to `next`. Errors are problem+json (RFC 9457)."
)


def create_app(engine: Engine, settings: Settings, clock: Clock) -> FastAPI:
    """Return the API on an opened ledger; makes the first token where there is none.

    Raises:
        ConfigError: the tokens cannot be written or read.
    """
    stores = AgentStores.of(engine, settings, clock)
    tokens = TokenFile(settings.home_dir, clock)
    tokens.prepare()
    desk = Desk(stores, tokens, Feed(stores.events))
    app = FastAPI(
        title="Prime Spark agent",
        version="1.0.0",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=CleanJson,
        lifespan=_lifespan,
    )
    app.state.desk = desk
    for part in (agent, actions, world, measured, audit, health):
        app.include_router(part.router)
    answer_problems(app)
    app.add_middleware(
        Gate,
        settings=settings.api,
        tokens=tokens,
        rate=RateLimit(settings.api.requests_per_minute, clock.monotonic),
        answers=desk.answers,
    )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Requests wait for a thread as long as they have to; for a connection they would give up.
    to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield
    desk: Desk = app.state.desk
    await desk.feed.stop()
    if desk.stores.catalog is not None:
        desk.stores.catalog.close()
