"""How a run ends: with which exit code, and in whose files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.errors import ConflictError
from config.paths import Home
from config.settings import MlflowSettings, PortSettings, PrefectSettings, Settings
from flows.up.demo_home import empty
from flows.up.plan import held_ports, resolved, services_of, urls_of
from flows.up.screen import open_screen
from flows.up.session import StoryResult, UpSession, Urls
from flows.up.signals import StopSignals
from flows.up.story import StoryThread

_URLS = Urls(
    "http://127.0.0.1:1", "http://127.0.0.1:1/api", "http://127.0.0.1:2", "http://127.0.0.1:3"
)


def test_the_demo_s_home_is_empty_for_each_run(tmp_path: Path) -> None:
    home = Home(tmp_path / "demo").create()
    empty(home)
    (home.root / "ledger.db").write_text("of the last run")
    (home.logs / "x.log").write_text("")
    (home.run / "up.lock").write_text("")
    empty(home)
    assert not (home.root / "ledger.db").exists()
    assert list(home.logs.iterdir()) == []
    assert (home.run / "up.lock").exists(), "the lock is held while this happens"


def test_a_link_in_the_demo_s_home_is_removed_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("irreplaceable")
    home = Home(tmp_path / "demo").create()
    empty(home)
    (home.root / "models").rmdir()
    (home.root / "models").symlink_to(theirs)
    empty(home)
    assert (theirs / "thesis.txt").exists()


def test_a_home_with_other_files_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "demo").create()
    (home.root / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ConflictError, match="not the demo's"):
        empty(home)
    assert (home.root / "thesis.txt").exists()


def test_servers_of_the_user_s_are_used_and_not_started(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        mlflow=MlflowSettings(tracking_uri="https://mlflow.example/"),
        prefect=PrefectSettings(api_url="https://prefect.example/api"),
    )
    with held_ports(settings) as ports:
        urls = urls_of(settings, ports)
        names = [service.name for service in services_of(settings, ports, urls, "up-1")]
    assert (urls.mlflow, urls.prefect) == ("https://mlflow.example", "https://prefect.example")
    assert names == ["predictor", "deployments", "worker", "wake-up", "agent", "agent API"]


def test_without_servers_of_the_user_s_all_are_started_on_different_ports(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with held_ports(settings) as ports:
        urls = urls_of(settings, ports)
        names = [service.name for service in services_of(settings, ports, urls, "up-1")]
    assert len({urls.prefect, urls.mlflow, urls.predictor}) == 3
    ours = ["Prefect", "MLflow", "predictor", "deployments", "worker", "wake-up"]
    assert names == [*ours, "agent", "agent API"]
    made = resolved(settings, urls)
    assert (made.mlflow.tracking_uri, made.prefect.api_url) == (urls.mlflow, urls.prefect_api)


def test_a_port_that_was_set_is_taken_as_it_is(tmp_path: Path) -> None:
    with held_ports(Settings(home=tmp_path)) as free:
        number = free.mlflow.number
    with held_ports(Settings(home=tmp_path, ports=PortSettings(mlflow=number))) as ports:
        assert ports.mlflow.number == number


@pytest.fixture
def session(tmp_path: Path) -> UpSession:
    settings = Settings(home=tmp_path / "home")
    settings.home_dir.create()
    return UpSession(settings, _URLS, {}, threading.Event())


def _told(
    session: UpSession, monkeypatch: pytest.MonkeyPatch, run_story: object
) -> StoryResult | None:
    monkeypatch.setattr("flows.demo.story.run_story", run_story)
    thread = StoryThread(session, open_screen(SystemClock()))
    thread.start()
    thread.stop()
    return thread.result


def test_a_story_that_breaks_has_failed_with_its_reason_masked(
    session: UpSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> StoryResult:
        raise KeyError("http://me:hunter2@host/")

    result = _told(session, monkeypatch, broken)
    assert result is not None
    assert not result.ok
    assert "KeyError" in result.reason
    log = (session.settings.home_dir.logs / "story.log").read_text()
    assert "Traceback" in log
    assert "hunter2" not in result.reason + log


def test_a_story_is_asked_to_stop(session: UpSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def patient(session: UpSession, _screen: object) -> StoryResult:
        return StoryResult(session.stop.wait(20), "was asked")

    assert _told(session, monkeypatch, patient) == StoryResult(True, "was asked")


def test_the_second_signal_asks_to_hurry() -> None:
    import signal

    signals = StopSignals()
    with signals.installed():
        assert not signals.requested()
        signal.raise_signal(signal.SIGINT)
        assert signals.requested()
        assert not signals.hurry()
        signal.raise_signal(signal.SIGTERM)
        assert signals.hurry()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
