"""docs/extending.md is built, installed and run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/extending.md"

_BLOCK = re.compile(r"^```\w+ (file|output)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BUILD = "import setuptools.build_meta as build; print(build.build_wheel('dist'))"


def blocks(kind: str) -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8")
    return {name: content for of, name, content in _BLOCK.findall(text) if of == kind}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(folder / "installed"),
        "INBOX_FOLDER": str(folder),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's tests and settings, and its package in `installed/`."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("inbox")
    for name, text in blocks("file").items():
        of_package = name.startswith("inbox_") or name == "pyproject.toml"
        (source if of_package else folder).joinpath(name).write_text(text, encoding="utf-8")
    answer = run(source, "-c", _BUILD)
    assert answer.returncode == 0, answer.stderr
    with zipfile.ZipFile(source / "dist" / answer.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(folder / "installed")
    return folder


def test_the_page_holds_one_file_each() -> None:
    assert {"inbox_target.py", "inbox_scale_out.py", "inbox_letter.py"} < set(blocks("file"))


def test_its_own_tests_pass(package: Path) -> None:
    answer = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_inbox.py")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "3 passed" in answer.stdout


def test_the_agent_finds_it_and_makes_of_it_what_the_page_says(package: Path) -> None:
    (package / "inbox").mkdir()
    (package / "inbox" / "job-1").touch()
    (package / "workers.txt").write_text("2\n")
    for script, wanted in blocks("output").items():
        answer = run(package, script)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout == wanted


@pytest.mark.parametrize(
    ("effect", "ending", "workers"),
    [
        ("0.6", "completed | improved", "4\n"),
        ("1.0", "rolled_back | inconclusive", "2\n"),
        ("1.4", "rolled_back | worse", "2\n"),
    ],
)
def test_its_action_is_kept_if_it_helps_and_undone_if_not(
    package: Path, tmp_path: Path, effect: str, ending: str, workers: str
) -> None:
    (tmp_path / "installed").symlink_to(package / "installed")
    (tmp_path / "inbox").mkdir()
    for number in range(150):
        (tmp_path / "inbox" / f"job-{number}").touch()
    (tmp_path / "workers.txt").write_text("2\n")
    answer = run(tmp_path, str(ROOT / "tests/services/extension_run.py"), effect)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(ending), answer.stdout
    assert (tmp_path / "workers.txt").read_text() == workers


def test_its_code_is_formatted_as_ours() -> None:
    files = [name for name in blocks("file") if name.endswith(".py")]
    for name in files:
        source = blocks("file")[name]
        answer = subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--check", "--diff", "--line-length=100", "-"],
            input=source,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, f"{name}: {answer.stdout}"
