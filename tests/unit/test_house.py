"""Rules of the house that no linter keeps: names, sizes, contracts, locks."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("config", "registry", "serving", "benchmarks", "optimizers", "flows")
LOCKS = {"run": ROOT / ".ci/constraints-run.txt", "dev": ROOT / ".ci/constraints-dev.txt"}

_MAX_FILE_LINES = 400
_MAX_FUNCTION_LINES = 50
_MAX_CLASS_LINES = 200
_MAX_MEDIAN_FUNCTION_LINES = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _sources() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def _nodes(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[Path, ast.AST]]:
    for file in _sources():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield file, node


def _length(node: ast.AST) -> int:
    """Lines without decorators and docstring."""
    assert isinstance(node, Function | ast.ClassDef)
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _name(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(ROOT)}:{getattr(node, 'name', '')}"


@pytest.mark.parametrize("package", PACKAGES)
def test_only_our_distribution_owns_the_package(package: str) -> None:
    owners = set(metadata.packages_distributions().get(package, ()))
    assert owners <= {"prime-spark"}, f"{owners} would shadow, or be shadowed by, our {package}"
    spec = PathFinder.find_spec(package, [path for path in sys.path if not _is_ours(path)])
    assert spec is None or _is_ours(str(spec.origin)), spec


def _is_ours(path: str) -> bool:
    return Path(path or ".").resolve().is_relative_to(ROOT) and "site-packages" not in path


def test_it_cannot_be_uploaded_by_mistake() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]


def test_no_flow_has_the_name_of_another_module() -> None:
    elsewhere = [path for path in sys.path if not _is_ours(path)]
    stems = [file.stem for file in (ROOT / "flows").glob("[a-z]*") if file.suffix in {"", ".py"}]
    taken = [stem for stem in stems if PathFinder.find_spec(stem, elsewhere) is not None]
    assert taken == []


def test_files_are_short() -> None:
    sizes = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in _sources()}
    assert {str(file): size for file, size in sizes.items() if size > _MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    sizes = {
        _name(file, node): _length(node)
        for file, node in _nodes((ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: size for name, size in sizes.items() if size > _MAX_FUNCTION_LINES} == {}
    assert statistics.median(sizes.values()) <= _MAX_MEDIAN_FUNCTION_LINES


def test_classes_are_short() -> None:
    sizes = {_name(file, node): _length(node) for file, node in _nodes(ast.ClassDef)}
    assert {name: size for name, size in sizes.items() if size > _MAX_CLASS_LINES} == {}


def test_nothing_is_unpickled() -> None:
    imports = [
        _name(file, node)
        for file, node in _nodes((ast.Import, ast.ImportFrom))
        if {"pickle", "cloudpickle", "joblib", "dill"} & _imported(node)
    ]
    assert imports == []
    loads = [
        (file, node) for file, node in _nodes(ast.Call) if ast.unparse(node).startswith("np.load(")
    ]
    assert [
        _name(*load) for load in loads if "allow_pickle=False" not in ast.unparse(load[1])
    ] == []


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    assert isinstance(node, ast.Import)
    return {alias.name.split(".")[0] for alias in node.names}


def test_wall_time_is_read_in_one_place() -> None:
    calls = {
        str(file.relative_to(ROOT))
        for file, node in _nodes(ast.Call)
        if ast.unparse(node).startswith(("datetime.now(", "datetime.utcnow(", "time.time("))
    }
    assert calls <= {"config/clock.py"}


_VIOLATIONS = {
    "registry/x.py": "import serving",
    "serving/x.py": "import optimizers",
    "serving/y.py": "import benchmarks",
    "optimizers/x.py": "import serving",
    "config/x.py": "import registry",
    "optimizers/y.py": "import prefect",
    "flows/x.py": "def f():\n    import mlflow",
    "registry/y.py": "from bentoml import Service",
    "optimizers/z.py": "import scipy.stats",
    "serving/z.py": "import matplotlib.pyplot",
    "flows/y.py": "import onnxruntime",
    "benchmarks/x.py": "import typer",
    "registry/records.py": "import sqlalchemy",
    "optimizers/decision.py": "import httpx",
    "benchmarks/effect_windows.py": "import socket",
    "optimizers/models/capabilities/ab_test.py": (
        "from optimizers.models.capabilities import model_deploy"
    ),
}


def _named_modules() -> set[str]:
    """Our modules that the contracts name; a house without them is refused."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    lists = ("source_modules", "forbidden_modules", "modules")
    named = {name for one in tables["contracts"] for key in lists for name in one.get(key, ())}
    return {name for name in named if name.split(".")[0] in PACKAGES}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", script, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def empty_house(tmp_path: Path) -> Path:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for name in _named_modules():
        *folders, last = name.split(".")
        inside = [*folders, last] if (ROOT / name.replace(".", "/")).is_dir() else folders
        tmp_path.joinpath(*inside).mkdir(parents=True, exist_ok=True)
        for depth in range(1, len(inside) + 1):
            tmp_path.joinpath(*inside[:depth], "__init__.py").touch()
        if inside == folders:
            tmp_path.joinpath(*folders, f"{last}.py").touch()
    return tmp_path


def test_the_contracts_let_an_innocent_house_pass(empty_house: Path) -> None:
    answer = _lint(empty_house)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("module", _VIOLATIONS)
def test_the_contracts_find_each_violation(empty_house: Path, module: str) -> None:
    (empty_house / module).write_text(_VIOLATIONS[module] + "\n")
    answer = _lint(empty_house)
    assert answer.returncode == 1
    assert "BROKEN" in answer.stdout, answer.stdout + answer.stderr


@pytest.mark.parametrize("lock", LOCKS)
def test_the_locks_hold_hashes_and_nothing_of_the_machine_that_made_them(lock: str) -> None:
    text = LOCKS[lock].read_text()
    assert "://" not in text
    assert "/" not in text.replace("\\\n", "")
    blocks = [block for block in text.replace("\\\n", " ").splitlines() if block.strip()]
    assert [block[:60] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_locks_fit_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {name: _pins(path) for name, path in LOCKS.items()}
    assert pins["run"].items() <= pins["dev"].items(), "tests run with what users run"
    for line in project["dependencies"]:
        _assert_pinned(line, pins["run"])
    for line in project["optional-dependencies"]["dev"]:
        _assert_pinned(line, pins["dev"])


def _pins(path: Path) -> dict[str, str]:
    pins = {}
    for line in path.read_text().splitlines():
        if "==" not in line or line.startswith(" "):
            continue
        requirement = Requirement(line.rstrip("\\ "))
        if requirement.marker is None or requirement.marker.evaluate():
            pins[requirement.name.lower()] = str(requirement.specifier).removeprefix("==")
    return pins


def _assert_pinned(line: str, pins: dict[str, str]) -> None:
    requirement = Requirement(line)
    pinned = pins.get(requirement.name.lower())
    assert pinned is not None, f"{requirement.name} is not locked: make lock"
    assert requirement.specifier.contains(pinned), f"{line} but locked {pinned}: make lock"
