from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config.errors import ConflictError
from config.paths import Home
from flows.up.lock import Running, is_held, read_running, sole_run, write_running
from flows.up.session import Urls

_URLS = Urls("http://a:1", "http://a:1/api", "http://b:2", "http://c:3")
_HOLD = (
    "import sys, time, pathlib\n"
    "from config.paths import Home\n"
    "from flows.up.lock import sole_run\n"
    "with sole_run(Home(pathlib.Path(sys.argv[1]))):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def test_a_second_run_is_refused_with_the_first_one_s_number(home: Home) -> None:
    with sole_run(home):
        write_running(home, Running(4711, "up-x", _URLS))
        with (
            pytest.raises(ConflictError, match=r"already running on .*process 4711.*stop it"),
            sole_run(home),
        ):
            pass
        assert is_held(home), "the refused one must not have taken the lock away"


def test_the_home_is_free_after_the_run_and_no_file_is_left(home: Home) -> None:
    with sole_run(home):
        write_running(home, Running(4711, "up-x", _URLS))
        assert read_running(home) == Running(4711, "up-x", _URLS)
    assert not is_held(home)
    assert read_running(home) is None
    assert list(home.run.iterdir()) == []
    with sole_run(home):
        pass


def test_a_killed_run_holds_nothing(home: Home) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(home.root)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline().strip() == "held"
        write_running(home, Running(holder.pid, "up-x", _URLS))
        assert is_held(home)
        holder.kill()
        holder.wait()
    assert read_running(home) is None, "what a dead run has written says nothing any more"
    with sole_run(home):
        pass


def test_a_damaged_state_file_is_no_news(home: Home) -> None:
    with sole_run(home):
        (home.run / "up.json").write_text('{"pid": "x"')
        assert read_running(home) is None


def test_the_state_file_is_the_owner_s_alone(home: Home) -> None:
    with sole_run(home):
        write_running(home, Running(1, "up-x"))
        assert (home.run / "up.json").stat().st_mode & 0o077 == 0
