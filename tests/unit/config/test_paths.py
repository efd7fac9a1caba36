from __future__ import annotations

import threading
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.paths import Home


def test_the_home_is_closed_to_other_users(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "home").create()
    for folder in (home.root, home.logs, home.run, home.secrets, home.model_cache):
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o077 == 0


def test_making_it_again_changes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    (home.logs / "x.log").write_text("kept")
    home.create()
    assert (home.logs / "x.log").read_text() == "kept"


def test_a_home_that_cannot_be_made_names_what_to_set(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="PRIME_SPARK_HOME"):
        Home(blocked / "home").create()


def test_the_key_is_made_once_and_is_the_owner_s_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    key = home.request_key()
    assert len(key) == 32
    assert home.request_key() == key
    assert [file.stat().st_mode & 0o777 for file in home.secrets.iterdir()] == [0o600]
    assert Home(tmp_path / "other").create().request_key() != key


def test_all_who_ask_at_once_get_the_same_key(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    keys: list[bytes] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        keys.append(home.request_key())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [file.name for file in home.secrets.iterdir()] == ["request-id.key"]


def test_a_damaged_key_is_not_used(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    home.request_key()
    (home.secrets / "request-id.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"request-id\.key is too short"):
        home.request_key()
