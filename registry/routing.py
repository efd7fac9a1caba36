"""The wanted split of each model's traffic: a row per revision, the newest one holds.

Written by experiments and by people, read by every predictor worker about once a second. The
history is the table itself, so nothing is ever overwritten.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Engine, Row, func, select

from config.clock import Clock, epoch, from_epoch
from config.errors import ConflictError, InputError
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import routes
from registry.records import Route, RouteMode


class RouteStore:
    """Reads and writes routes in one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def current(self, model: str) -> Route:
        """The route of `model`; :meth:`Route.none` when none was ever written."""
        found = self.history(model, 1)
        return found[0] if found else Route.none(model)

    def current_all(self) -> dict[str, Route]:
        """The route of every model that ever had one."""
        newest = (
            select(routes.c.model, func.max(routes.c.revision).label("revision"))
            .group_by(routes.c.model)
            .subquery()
        )
        query = select(routes).join(
            newest,
            (routes.c.model == newest.c.model) & (routes.c.revision == newest.c.revision),
        )
        with reading(self._engine) as connection:
            return {row.model: _route(row) for row in connection.execute(query)}

    def put(  # noqa: PLR0913 - these are the fields of a route
        self,
        model: str,
        *,
        expected_revision: int,
        mode: RouteMode,
        champion: int | None,
        challenger: int | None = None,
        weight: float = 0.0,
        experiment_id: str | None = None,
        salt: str = "",
        by: str,
        reason: str,
    ) -> Route:
        """Write the next revision of a route.

        Args:
            model: the registered model's name.
            expected_revision: the revision the caller has seen; 0 when there was none.
            mode: how traffic is divided.
            champion: the version that the split was made for; serving ignores the split as soon
                as the alias names another one.
            challenger: the version on trial; needed unless `mode` is NONE.
            weight: the challenger's share, 0 to 1.
            experiment_id: the experiment this split belongs to.
            salt: makes the assignment of users differ between experiments.
            by: who asks for it.
            reason: why, in a sentence.

        Raises:
            ConflictError: the route is at another revision; nothing was changed.
            InputError: weight or versions make no route.
        """
        _check(mode, champion, challenger, weight)
        route = Route(
            model=model,
            revision=expected_revision + 1,
            mode=mode,
            experiment_id=experiment_id,
            salt=salt,
            champion=champion,
            challenger=challenger,
            weight=weight,
            at=self._clock.now(),
            by=by,
            reason=reason,
        )
        self._insert(route, expected_revision)
        return route

    def history(self, model: str, limit: int = 100) -> list[Route]:
        """The newest `limit` revisions, newest first."""
        query = (
            select(routes)
            .where(routes.c.model == model)
            .order_by(routes.c.revision.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [_route(row) for row in connection.execute(query)]

    def _insert(self, route: Route, expected_revision: int) -> None:
        with writing(self._engine) as connection:
            lock(connection, f"route {route.model}")
            newest = select(func.max(routes.c.revision)).where(routes.c.model == route.model)
            found = connection.scalar(newest) or 0
            if found != expected_revision:
                raise ConflictError(
                    f"the route of {route.model} is at revision {found}, not {expected_revision}; "
                    "read it again before changing it"
                )
            assert route.at is not None
            connection.execute(routes.insert(), asdict(route) | {"at": epoch(route.at)})
            body = {
                "revision": route.revision,
                "mode": route.mode.value,
                "champion": route.champion,
                "challenger": route.challenger,
                "weight": route.weight,
                "experiment_id": route.experiment_id,
                "by": route.by,
                "reason": route.reason,
            }
            self._events.append(connection, "route", route.model, body)


def _check(mode: RouteMode, champion: int | None, challenger: int | None, weight: float) -> None:
    if not 0.0 <= weight <= 1.0:
        raise InputError(f"a route's weight is a share from 0 to 1, not {weight}")
    if mode is not RouteMode.NONE and (champion is None or challenger is None):
        raise InputError(f"a route in mode {mode} names a champion and a challenger version")


def _route(row: Row[tuple[object, ...]]) -> Route:
    return Route(
        model=row.model,
        revision=row.revision,
        mode=RouteMode(row.mode),
        experiment_id=row.experiment_id,
        salt=row.salt,
        champion=row.champion,
        challenger=row.challenger,
        weight=row.weight,
        at=from_epoch(row.at),
        by=row.by,
        reason=row.reason,
    )
