"""Small facts about the agent by name, within the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy import Connection, select

from registry.agent_records import canonical_json
from registry.ledger.agent_schema import agent_facts
from registry.ledger.database import insert_into

PAUSED = "paused"
GOALS = "goals"


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact's value, who set it and when."""

    value: JsonValue
    by: str
    at: float


def read_fact(connection: Connection, name: str) -> Fact | None:
    """The fact of that name; None when it was never set."""
    query = select(agent_facts).where(agent_facts.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
    return Fact(json.loads(row["value"]), row["by"], row["at"]) if row is not None else None


def write_fact(connection: Connection, name: str, fact: Fact) -> None:
    """Set the fact of that name."""
    row = {"value": canonical_json(fact.value), "by": fact.by, "at": fact.at}
    insert = insert_into(connection, agent_facts).values(name=name, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=row))


def is_paused(fact: Fact | None) -> bool:
    """Whether the fact `paused` says so."""
    return fact is not None and isinstance(fact.value, Mapping) and bool(fact.value.get("paused"))
