"""Opening the ledger: files, versions, refusals, locks."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from config.errors import ConfigError, DeadlineExceeded, LedgerUnavailable
from registry.ledger.database import (
    describe,
    exclusive,
    open_ledger,
    reading,
    writing,
)
from registry.ledger.schema import event_head, meta
from tests.services.processes import free_port


def test_sqlite_file_and_folder_are_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "home" / "ledger.db"
    engine = open_ledger(f"sqlite:///{path}")
    with writing(engine) as connection:
        connection.execute(text("SELECT 1"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) >= {"ledger.db", "ledger.db-wal"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    engine.dispose()


def test_a_file_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch(mode=0o644)
    open_ledger(f"sqlite:///{path}").dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_opening_again_keeps_what_is_there(ledger: Engine, ledger_url: str) -> None:
    with writing(ledger) as connection:
        connection.execute(event_head.update().values(last_id=7))
    again = open_ledger(ledger_url)
    with reading(again) as connection:
        assert connection.scalar(event_head.select().with_only_columns(event_head.c.last_id)) == 7
    again.dispose()


def test_plain_postgresql_urls_use_the_installed_driver(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    assert engine.url.drivername == "postgresql+psycopg"
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["mysql://u@h/d", "sqlite://", "sqlite:///:memory:", "no url", "postgresql+asyncpg://h/d"],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.url"):
        open_ledger(url)


def test_a_newer_ledger_is_refused(ledger: Engine, ledger_url: str) -> None:
    with writing(ledger) as connection:
        connection.execute(meta.update().where(meta.c.name == "schema_version").values(value="999"))
    with pytest.raises(ConfigError, match="999"):
        open_ledger(ledger_url)


def test_a_server_that_is_down_is_told_without_its_password() -> None:
    url = f"postgresql://me:very-secret@127.0.0.1:{free_port()}/ledger"
    with pytest.raises(LedgerUnavailable) as caught:
        open_ledger(url)
    assert "very-secret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(LedgerUnavailable, match="does not answer"):
        open_ledger(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerUnavailable, match="cannot open"):
        open_ledger(f"sqlite:///{tmp_path}/file/ledger.db")


def test_an_exception_undoes_the_transaction(ledger: Engine) -> None:
    def fail() -> None:
        with writing(ledger) as connection:
            connection.execute(event_head.update().values(last_id=9))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with reading(ledger) as connection:
        assert connection.execute(event_head.select()).one().last_id == 0


def test_mistakes_in_statements_are_not_called_unavailability(ledger: Engine) -> None:
    with pytest.raises(DBAPIError), writing(ledger) as connection:
        connection.execute(event_head.insert(), [{"only": 1, "last_id": 0, "hash": ""}])


def _increment(url: str, times: int) -> None:
    engine = open_ledger(url)
    for _ in range(times):
        with writing(engine) as connection:
            query = event_head.select().with_for_update()
            found = connection.execute(query).one().last_id
            connection.execute(event_head.update().values(last_id=found + 1))


def test_many_processes_open_and_write_at_once(ledger_url: str) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_increment, args=(ledger_url, 15)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    engine = open_ledger(ledger_url)
    with reading(engine) as connection:
        assert connection.execute(event_head.select()).one().last_id == 60
    engine.dispose()


def test_a_locked_database_becomes_ledger_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.ledger.database._BUSY_TIMEOUT_S", 0.1)
    url = f"sqlite:///{tmp_path}/ledger.db"
    one, other = open_ledger(url), open_ledger(url)
    with writing(one), pytest.raises(LedgerUnavailable, match="locked"), writing(other):
        pass
    one.dispose()
    other.dispose()


def test_readers_go_on_while_somebody_writes(ledger: Engine) -> None:
    with writing(ledger) as writer:
        writer.execute(event_head.update().values(last_id=5))
        with reading(ledger) as reader:
            assert reader.execute(event_head.select()).one().last_id == 0


def test_an_exclusive_lock_keeps_others_out_but_not_other_writers(
    ledger: Engine, ledger_url: str
) -> None:
    other = open_ledger(ledger_url)
    with exclusive(ledger, "alias digits", 1.0):
        with (
            pytest.raises(DeadlineExceeded, match="alias digits"),
            exclusive(other, "alias digits", 0.1),
        ):
            pass
        with exclusive(other, "alias faces", 0.1), writing(other) as connection:
            connection.execute(event_head.update().values(last_id=3))
    with exclusive(other, "alias digits", 0.1):
        pass
    other.dispose()


def _hold_and_die(url: str, held: multiprocessing.synchronize.Event) -> None:
    with exclusive(open_ledger(url), "alias digits", 1.0):
        held.set()
        os.kill(os.getpid(), 9)


def test_an_exclusive_lock_goes_with_its_process(ledger: Engine, ledger_url: str) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=_hold_and_die, args=(ledger_url, held))
    holder.start()
    assert held.wait(30)
    holder.join(30)
    with exclusive(ledger, "alias digits", 5.0):
        pass


def test_the_address_is_shown_without_password(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    assert "***" in describe(engine)
    assert str(engine.url.password) not in describe(engine)
    engine.dispose()
