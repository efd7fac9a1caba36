"""An API on an empty ledger, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from config.clock import ManualClock
from config.settings import Settings
from registry.ledger.database import open_ledger
from serving.api.app import create_app
from serving.api.stores import AgentStores


@pytest.fixture
def api_settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def stores(ledger: Engine, api_settings: Settings, clock: ManualClock) -> AgentStores:
    """The stores of a ledger on either database."""
    api_settings.home_dir.create()
    return AgentStores.of(ledger, api_settings, clock)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A ledger for tests that are not about the database."""
    opened = open_ledger(f"sqlite:///{tmp_path}/api.db")
    yield opened
    opened.dispose()


@pytest.fixture
def app(engine: Engine, api_settings: Settings, clock: ManualClock) -> FastAPI:
    api_settings.home_dir.create()
    return create_app(engine, api_settings, clock)


@pytest.fixture
async def client(app: FastAPI, api_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token that may do everything."""
    token = api_settings.home_dir.api_token_file.read_text().strip()
    transport = httpx.ASGITransport(app)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=headers
    ) as opened:
        yield opened
