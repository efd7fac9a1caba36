"""The agent's tables of the ledger: actions, approvals, observations, leases and what was learned.

Documents are JSON texts; what is looked up has a column of its own.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text
from sqlalchemy.types import BigInteger, Double

from registry.ledger.schema import metadata

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")
_TIME: Double[float] = Double()
_REAL: Double[float] = Double()

actions = Table(
    "actions",
    metadata,
    Column("id", String, primary_key=True),
    Column("type", String, nullable=False),
    Column("target", String, nullable=False),
    Column("advice_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("digest", String, nullable=False),
    Column("proposal", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("due_at", _TIME),
    Column("deadline_at", _TIME),
    Column("holder", String),
    Column("token", BigInteger, nullable=False),
    Column("lease_expires_at", _TIME),
    Column("approved_by", String),
    Column("approval_id", String),
    Column("flow_run_id", String),
    Column("run_id", String),
    Column("intent", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("effect", Text),
    Column("undo_failures", Integer, nullable=False),
    Column("executed_at", _TIME),
    Column("finished_at", _TIME),
    # The realised improvement out of `effect`, so that it can be summed up.
    Column("gain", _REAL),
    Index("actions_by_state", "state", "created_at"),
    Index("actions_by_advice", "advice_id", "created_at"),
    Index("actions_by_type", "type", "target", "executed_at"),
    Index("actions_by_time", "created_at", "id"),
    # Holds all that the sum of the gains needs, so that no action has to be read for it.
    Index("actions_by_gain", "state", "gain"),
    Index("actions_by_start", "executed_at"),
    Index("actions_by_end", "finished_at"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String, primary_key=True),
    Column("action_id", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("approved", Integer, nullable=False),
    Column("by", String, nullable=False),
    Column("way", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    Column("used_at", _TIME),
    Index("approvals_by_action", "action_id", "at"),
)

advice = Table(
    "advice",
    metadata,
    Column("advice_id", String, primary_key=True),
    Column("declined_gain", _REAL, nullable=False),
    Column("declined_by", String, nullable=False),
    Column("declined_at", _TIME, nullable=False),
)

held_knobs = Table(
    "held_knobs",
    metadata,
    Column("target", String, primary_key=True),
    Column("knob", String, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", _TIME, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", _TIME, nullable=False),
)

# Small facts about the agent: paused, its last beat, goals that were changed at run time.
agent_facts = Table(
    "agent_facts",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("by", String, nullable=False),
    Column("at", _TIME, nullable=False),
)

learned = Table(
    "learned",
    metadata,
    Column("type", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("successes", _REAL, nullable=False),
    Column("failures", _REAL, nullable=False),
    Column("mean", _REAL, nullable=False),
    Column("weight", _REAL, nullable=False),
    Column("sum_sq", _REAL, nullable=False),
    Column("updated_at", _TIME, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", String, primary_key=True),
    Column("target", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("first_at", _TIME, nullable=False),
    Column("last_at", _TIME, nullable=False),
    Column("cleared_at", _TIME),
    Index("findings_by_time", "last_at"),
)

# A series is a metric of a target with its labels. What was seen stands first in `ticks`, one row
# for all series at one moment; then in `blocks`, one row for all series of a target within a span
# of time. `step` is the length of a block's buckets in seconds: 0 for single observations, then
# 300, then 3600. Bodies are packed by `registry.observation_codec`.
series = Table(
    "series",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("target", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("labels", String, nullable=False),
    Column("unit", String, nullable=False),
    Index("series_by_name", "target", "metric", "labels", unique=True),
)

ticks = Table(
    "ticks",
    metadata,
    Column("at", _TIME, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

blocks = Table(
    "blocks",
    metadata,
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("start", _TIME, primary_key=True),
    Column("target", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
