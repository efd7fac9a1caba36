"""The tables of the ledger, the same on SQLite and PostgreSQL.

Times are float seconds since the epoch (UTC). An absent experiment is the empty text, not NULL,
where it is part of a key: NULLs are never equal, and a key must be.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import BigInteger, Double

SCHEMA_VERSION = 2
# The row of `meta` that says up to when exposures are joined into hours.
EXPOSURES_COMPACTED = "exposures_compacted_before"

metadata = MetaData()

# SQLite only numbers rows by itself when the type is exactly INTEGER.
_ROW_ID = BigInteger().with_variant(Integer, "sqlite")
_TIME: Double[float] = Double()
_REAL: Double[float] = Double()

meta = Table(
    "ledger_meta",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=False),
    Column("at", _TIME, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous_hash", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
    Index("events_by_subject", "subject", "id"),
    Index("events_by_kind", "kind", "id"),
)

event_head = Table(
    "event_head",
    metadata,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("last_id", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)

routes = Table(
    "routes",
    metadata,
    Column("model", String, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("mode", String, nullable=False),
    Column("experiment_id", String),
    Column("salt", String, nullable=False),
    Column("champion", Integer),
    Column("challenger", Integer),
    Column("weight", _REAL, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("by", String, nullable=False),
    Column("reason", Text, nullable=False),
)

knobs = Table(
    "knobs",
    metadata,
    Column("scope", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", _REAL, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("by", String, nullable=False),
    Column("reason", Text, nullable=False),
)

exposures = Table(
    "exposures",
    metadata,
    Column("worker", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("variant", String, primary_key=True),
    Column("experiment_id", String, primary_key=True),
    Column("started_at", _TIME, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("over_objective", BigInteger, nullable=False),
    Column("latency_sum_ms", _REAL, nullable=False),
    Column("latency_sumsq", _REAL, nullable=False),
    Column("sketch", Text, nullable=False),
    Index("exposures_by_experiment", "experiment_id", "started_at"),
    Index("exposures_by_version", "model", "version", "started_at"),
    Index("exposures_by_time", "started_at"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("nonce", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("variant", String, nullable=False),
    Column("experiment_id", String, nullable=False),
    Column("value", _REAL, nullable=False),
    Column("label", Text),
    Column("at", _TIME, nullable=False),
    Index("feedback_by_time", "at"),
)

feedback_minutes = Table(
    "feedback_minutes",
    metadata,
    Column("experiment_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("variant", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("minute", _TIME, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("total", _REAL, nullable=False),
    Column("total_sq", _REAL, nullable=False),
    Column("last_at", _TIME, nullable=False),
    Index("feedback_minutes_by_version", "model", "version", "metric", "minute"),
)

shadow_scores = Table(
    "shadow_scores",
    metadata,
    Column("nonce", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("model", String, nullable=False),
    Column("experiment_id", String, nullable=False),
    Column("prediction", Text),
    Column("champion_prediction", Text),
    Column("error", Boolean, nullable=False),
    Column("latency_ms", _REAL, nullable=False),
    Column("champion_latency_ms", _REAL, nullable=False),
    Column("at", _TIME, nullable=False),
    Index("shadow_scores_by_experiment", "experiment_id"),
    Index("shadow_scores_by_time", "at"),
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("challenger", Integer, nullable=False),
    Column("mode", String, nullable=False),
    Column("salt", String, nullable=False),
    Column("weight", _REAL, nullable=False),
    Column("config", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("verdict", String),
    Column("reason", Text, nullable=False),
    Column("started_at", _TIME, nullable=False),
    Column("finished_at", _TIME),
    Column("flow_run_id", String),
    Column("run_id", String),
    Column("lease_holder", String),
    Column("lease_token", Integer, nullable=False, server_default="0"),
    Column("lease_expires_at", _TIME),
    # One experiment at a time per model, kept by the database itself.
    Index(
        "experiments_one_running",
        "model",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)

looks = Table(
    "looks",
    metadata,
    Column("experiment_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)

lifecycle = Table(
    "lifecycle",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("stage", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("flow_run_id", String),
    Column("run_id", String),
    Column("at", _TIME, nullable=False),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("model", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("before", Integer),
    Column("after", Integer),
    Column("actor", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("state", String, nullable=False),
    Column("settled_at", _TIME),
    # The place in the model's story, given when the outcome is known; an id is given before.
    Column("place", Integer),
    Column("outside", Boolean, nullable=False),
    Index("alias_moves_by_alias", "model", "alias", "id"),
    Index("alias_moves_by_state", "state"),
)

alias_state = Table(
    "alias_state",
    metadata,
    Column("model", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("version", Integer),
)

# The event log takes additions only; the database refuses the rest, whoever asks.
_REFUSE_SQLITE = (
    "CREATE TRIGGER IF NOT EXISTS events_no_{verb} BEFORE {verb} ON events "
    "BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END"
)
_REFUSE_FUNCTION = (
    "CREATE OR REPLACE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the event log is append-only'; END $$"
)
_REFUSE_POSTGRESQL = (
    "CREATE OR REPLACE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
    "ON events FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()"
)
APPEND_ONLY = {
    "sqlite": tuple(_REFUSE_SQLITE.format(verb=verb) for verb in ("UPDATE", "DELETE")),
    "postgresql": (_REFUSE_FUNCTION, _REFUSE_POSTGRESQL),
}
