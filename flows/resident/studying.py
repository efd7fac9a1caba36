"""Closer looks before an optimise cycle: capabilities that offer one study what they have found.

A study may cost seconds of a processor, so it is done in the process of the flow `optimize`, never
in the resident agent, and within a budget. What came of it is kept in the ledger, so that the pure
planning has it, and the next cycle too while it is fresh.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import JsonValue

from config.errors import DeadlineExceeded, PrimeSparkError
from config.redaction import redact
from flows.resident.acting import tools_of
from optimizers.capability import Capability, Studying
from optimizers.view import Study, View
from registry.ledger.database import exclusive

if TYPE_CHECKING:
    from flows.resident.world import AgentWorld
    from registry.agent_records import Finding

_log = logging.getLogger("prime_spark.agent")

STUDIES = "studies"
"""The fact that holds all studies, by action type and subject."""

_KEPT_S = 86_400.0
_NOTHING = "there is no data to study yet"

Studies = Mapping[tuple[str, str], Study]


def known_studies(world: AgentWorld) -> Studies:
    """The studies in the ledger."""
    fact = world.stores.control.fact(STUDIES)
    return dict(_read(fact.value)) if fact is not None else {}


def with_studies(
    world: AgentWorld, view: View, capabilities: Mapping[str, Capability] | None = None
) -> View:
    """The view with every closer look that its findings ask for, as far as the time allows.

    Args:
        world: the stores, targets and capabilities.
        view: what is known.
        capabilities: whose closer looks are taken; all in use by default.

    Raises:
        LedgerUnavailable: the ledger does not answer.
    """
    wanted = list(_wanted(world.capabilities if capabilities is None else capabilities, view))
    if not wanted:
        return view
    try:
        with exclusive(world.context.engine, "studies", timeout_s=0.0):
            studies = dict(_studied(world, view, wanted))
            _keep(world, {**view.studies, **studies})
    except DeadlineExceeded:
        return view  # another process is at it
    return replace(view, studies={**view.studies, **studies})


def _wanted(
    capabilities: Mapping[str, Capability], view: View
) -> Iterator[tuple[Capability, Finding]]:
    """What has no fresh study, and last what has one that failed: others get their time first."""
    failed: list[tuple[Capability, Finding]] = []
    for capability in capabilities.values():
        if not isinstance(capability, Studying):
            continue
        for finding in _found(capability, view):
            known = view.study(capability.type, finding.subject, capability.study_fresh_s)
            if known is None:
                yield capability, finding
            elif known.trouble:
                failed.append((capability, finding))
    yield from failed


def _found(capability: Capability, view: View) -> list[Finding]:
    try:
        return list(capability.detect(view))
    except Exception:  # noqa: BLE001 - a plugin's fault must not stop the others; planning tells it
        return []


def _studied(
    world: AgentWorld, view: View, wanted: list[tuple[Capability, Finding]]
) -> Iterator[tuple[tuple[str, str], Study]]:
    clock, tools = world.clock, tools_of(world, time.sleep)
    ends = clock.monotonic() + world.settings.agent.study_seconds
    for capability, finding in wanted:
        left = ends - clock.monotonic()
        if left <= 0 or not isinstance(capability, Studying):
            continue
        try:
            value = capability.study(finding, view, tools, left)
            study = Study(world.now, value, "" if value is not None else _NOTHING)
        except PrimeSparkError as error:
            study = Study(world.now, None, redact(str(error)))
        except Exception as error:  # noqa: BLE001 - a capability may be anybody's: none ends the cycle
            study = Study(world.now, None, redact(f"{type(error).__name__}: {error}"))
        if study.trouble:
            _log.info("no study of %s: %s", finding.id, study.trouble)
        # Looked at later than the view was made: the plan must not take it for one of the future.
        yield (capability.type, finding.subject), replace(study, at=min(study.at, view.at))


def _keep(world: AgentWorld, studies: Studies) -> None:
    value: list[JsonValue] = [
        {"type": kind, "subject": subject, "at": one.at, "value": one.value, "trouble": one.trouble}
        for (kind, subject), one in sorted(studies.items())
        if world.now - one.at < _KEPT_S
    ]
    world.stores.control.set_fact(STUDIES, value, world.holder)


def _read(value: JsonValue) -> Iterator[tuple[tuple[str, str], Study]]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict) and isinstance(at := one.get("at"), int | float):
            study = Study(float(at), one.get("value"), str(one.get("trouble") or ""))
            yield (str(one.get("type")), str(one.get("subject"))), study
