"""Makes a version the champion, and brings the former one back.

Only a verdict promotes: a won trial, or an accepted benchmark where there is no champion to be
tried against. The aliases are moved by `registry.aliases`, intent first and under the ledger's
lock, so this may be killed and repeated at any point. That serving follows is looked up at the
predictor; where no predictor is known, or it does not answer, the result says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.errors import ConflictError, StaleToken, UnavailableError
from optimizers.models.desk import Desk, move_stage
from optimizers.models.served import served_versions
from registry.records import (
    CHAMPION_ALIAS,
    PREVIOUS_ALIAS,
    Experiment,
    Stage,
    TrialVerdict,
    VersionStage,
)

_POLL_S = 0.25
_ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A champion's change.

    Attributes:
        former: the champion before, now @previous; None for the first champion.
        serving: what the predictor was seen to serve, in words.
        verified: the predictor was seen to serve the new champion.
    """

    model: str
    version: int
    former: int | None
    reason: str
    serving: str
    verified: bool


@dataclass(frozen=True, slots=True)
class Serving:
    """Where to see what is served; `url` is None when no predictor is known."""

    url: str | None
    deadline_s: float = 10.0


def _permitted() -> None:
    """Let every move happen."""


def promote(  # noqa: PLR0913 - these are the parts of a promotion
    desk: Desk,
    model: str,
    version: int,
    serving: Serving,
    *,
    actor: str,
    flow_run_id: str | None,
    permit: Callable[[], None] = _permitted,
) -> Promotion:
    """Make a version the champion after its verdict; done already, it changes nothing.

    `permit` is asked right before each alias is written, and ends the promotion by raising.

    Raises:
        ConflictError: there is no verdict for it, or @champion is not the version it won against.
        UnavailableError: registry or ledger do not answer; a repeat finishes it.
    """
    stage = desk.lifecycle.get(model, version)
    champion = desk.registry.aliases(model).get(CHAMPION_ALIAS)
    if champion == version and stage is not None and stage.stage is Stage.CHAMPION:
        return _report(desk, model, version, serving, stage.reason)
    grounds = _grounds(desk, model, version, stage, champion)
    desk.checkpoint("checked")
    move_stage(
        desk.lifecycle, model, version, Stage.PROMOTING, grounds.reason, flow_run_id=flow_run_id
    )
    desk.checkpoint("promoting")
    desk.moves.promote(
        model,
        version,
        expected_champion=grounds.former,
        actor=actor,
        reason=grounds.reason,
        permit=permit,
    )
    desk.checkpoint("moved")
    _crown(desk, model, version, grounds, flow_run_id)
    return _report(desk, model, version, serving, grounds.reason)


def roll_back(  # noqa: PLR0913 - these are the parts of a way back
    desk: Desk,
    model: str,
    leaves: int,
    serving: Serving,
    *,
    actor: str,
    reason: str,
    flow_run_id: str | None,
    permit: Callable[[], None] = _permitted,
) -> Promotion:
    """Bring the version behind @previous back in place of the champion `leaves`.

    Done already, it changes nothing: the version to leave is named, so a repeat does not swap the
    two again.

    Raises:
        ConflictError: there is no @previous, or @champion is another version than `leaves`.
        UnavailableError: registry or ledger do not answer; a repeat finishes it.
    """
    back = _way_back(desk, model, leaves)
    grounds = Grounds(None, f"rolled back from version {leaves}: {reason}")
    desk.checkpoint("way back noted")
    try:
        desk.moves.promote(
            model,
            back,
            expected_champion=leaves,
            actor=actor,
            reason=grounds.reason,
            permit=permit,
        )
    except StaleToken:
        raise  # another one goes on with it, and needs the note of where to
    except ConflictError:
        _note(desk, model, leaves, back, "given_up")
        raise
    desk.checkpoint("moved")
    move_stage(desk.lifecycle, model, leaves, Stage.STOPPED, f"rolled back: {reason}")
    _crown(desk, model, back, grounds, flow_run_id)
    _note(desk, model, leaves, back, "done")
    return _report(desk, model, back, serving, grounds.reason, former=leaves)


def _way_back(desk: Desk, model: str, leaves: int) -> int:
    """The version to go back to, noted before anything moves: on the way @previous is overwritten.

    Raises:
        ConflictError: there is none.
    """
    notes = desk.events.list(subject=model, kind=_ROLLBACK, limit=10_000)
    last = notes[-1].body if notes else {}
    if last.get("state") == "begun" and last.get("leaves") == leaves:
        return int(str(last["back"]))
    aliases = desk.registry.aliases(model)
    champion, previous = aliases.get(CHAMPION_ALIAS), aliases.get(PREVIOUS_ALIAS)
    if champion is not None and previous == leaves != champion:
        return champion  # done already
    if champion != leaves or previous in {None, leaves}:
        raise ConflictError(
            f"{model} cannot be rolled back from version {leaves}: @champion is {champion} and "
            f"@previous is {previous}; move @champion by hand to the version wanted"
        )
    assert previous is not None
    _note(desk, model, leaves, previous, "begun")
    return previous


def _note(desk: Desk, model: str, leaves: int, back: int, state: str) -> None:
    desk.events.append(None, _ROLLBACK, model, {"leaves": leaves, "back": back, "state": state})


@dataclass(frozen=True, slots=True)
class Grounds:
    """On what a version is promoted, and which champion it replaces."""

    former: int | None
    reason: str
    run_id: str | None = None


def _grounds(
    desk: Desk, model: str, version: int, stage: VersionStage | None, champion: int | None
) -> Grounds:
    won = _won_trial(desk, model, version)
    standing = stage.stage if stage else None
    if won is not None and standing in {Stage.WON, Stage.PROMOTING}:
        return _still_valid(Grounds(won.champion, won.reason, won.run_id), version, champion)
    if standing in {Stage.ACCEPTED, Stage.PROMOTING} and champion in {None, version}:
        reason = "first champion: accepted by the benchmark, and no champion to be tried against"
        return Grounds(None, reason, stage.run_id if stage else None)
    raise ConflictError(
        f"version {version} of {model} is {standing or 'new'} and has won no trial; nothing is "
        "promoted without a verdict"
    )


def _still_valid(grounds: Grounds, version: int, champion: int | None) -> Grounds:
    if champion not in {grounds.former, version}:
        raise ConflictError(
            f"version {version} won against version {grounds.former}, but @champion is version "
            f"{champion} now; let it be tried against that one"
        )
    return grounds


def _won_trial(desk: Desk, model: str, version: int) -> Experiment | None:
    trials = [one for one in desk.experiments.all(model) if one.challenger == version]
    last = trials[-1] if trials else None
    return last if last is not None and last.verdict is TrialVerdict.PROMOTE else None


def _crown(desk: Desk, model: str, version: int, grounds: Grounds, flow_run_id: str | None) -> None:
    if grounds.former is not None:
        replaced = f"replaced by version {version}; kept as @previous"
        move_stage(desk.lifecycle, model, grounds.former, Stage.RETIRED, replaced)
    desk.checkpoint("former retired")
    move_stage(
        desk.lifecycle,
        model,
        version,
        Stage.CHAMPION,
        grounds.reason,
        flow_run_id=flow_run_id,
        run_id=grounds.run_id,
    )
    desk.checkpoint("crowned")


def _report(
    desk: Desk,
    model: str,
    version: int,
    serving: Serving,
    reason: str,
    *,
    former: int | None = None,
) -> Promotion:
    if former is None:
        former = desk.registry.aliases(model).get(PREVIOUS_ALIAS)
    seen, verified = _watch_serving(desk, model, version, serving)
    return Promotion(model, version, former, reason, seen, verified)


def _watch_serving(desk: Desk, model: str, version: int, serving: Serving) -> tuple[str, bool]:
    if serving.url is None:
        return "not verified: no predictor is known (serving.port)", False
    url, deadline = serving.url, desk.clock.monotonic() + serving.deadline_s
    seen = _look(url, model)
    while seen != (version,) and desk.clock.monotonic() < deadline:
        desk.wait(_POLL_S)
        seen = _look(url, model)
    if seen == (version,):
        return f"the predictor serves version {version}", True
    shown = seen if isinstance(seen, str) else f"it serves {', '.join(map(str, seen)) or 'nothing'}"
    return f"not verified: after {serving.deadline_s:g} s {shown}", False


def _look(url: str, model: str) -> tuple[int, ...] | str:
    try:
        return served_versions(url, model)
    except UnavailableError as error:
        return str(error)
