"""Cgroups of version 2, on a copy of its files: where this kernel gives its controllers to v1."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import ConflictError, InputError
from optimizers.targets.processes_cgroup import Cgroups
from optimizers.testing import FreeGuard
from registry.agent_records import Change


@pytest.fixture
def slice_(tmp_path: Path) -> Path:
    folder = tmp_path / "unified" / "shop.slice"
    folder.mkdir(parents=True)
    for name, text in {
        "cpu.weight": "100\n",
        "memory.high": "max\n",
        "memory.low": "0\n",
        "cgroup.procs": "11\n12\n",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def cgroups(slice_: Path, tmp_path: Path) -> Cgroups:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"tmpfs /run tmpfs rw 0 0\ncgroup2 {slice_.parent} cgroup2 rw,nsdelegate 0 0\n"
    )
    return Cgroups(mounts)


def write(cgroups: Cgroups, kind: str, before: object, after: object) -> None:
    knob = cgroups.knob(kind, "job", "shop.slice")
    assert knob is not None
    change = Change(f"{kind}:job", before, after)  # type: ignore[arg-type]
    knob.write(change, {11, 12}, FreeGuard())


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [("cpu_weight", 100, 10), ("memory_high", "max", 2**30), ("memory_low", 0, 2**20)],
)
def test_each_file_is_set_and_put_back(
    cgroups: Cgroups, slice_: Path, kind: str, before: object, after: object
) -> None:
    file = slice_ / kind.replace("_", ".")
    write(cgroups, kind, before, after)
    assert file.read_text() == str(after)
    write(cgroups, kind, after, before)
    assert file.read_text() == str(before)


@pytest.mark.parametrize(
    ("kind", "before", "bad"),
    [("cpu_weight", 100, 0), ("cpu_weight", 100, 10_001), ("memory_low", 0, 4097)],
)
def test_numbers_out_of_range_are_refused(
    cgroups: Cgroups, kind: str, before: object, bad: object
) -> None:
    with pytest.raises(InputError, match="it takes"):
        write(cgroups, kind, before, bad)


def test_another_value_than_expected_stays(cgroups: Cgroups, slice_: Path) -> None:
    (slice_ / "cpu.weight").write_text("55")
    with pytest.raises(ConflictError, match="is 55, not 100"):
        write(cgroups, "cpu_weight", 100, 10)
    assert (slice_ / "cpu.weight").read_text() == "55"


def test_version_1_has_what_version_2_has_not(cgroups: Cgroups) -> None:
    assert cgroups.knob("memory_soft_limit", "job", "shop.slice") is None
    assert cgroups.knob("cpu_weight", "job", "no.slice") is None


def test_a_link_out_of_the_mount_is_refused(cgroups: Cgroups, slice_: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "cpu.weight").write_text("100")
    (slice_.parent / "linked").symlink_to(elsewhere)
    with pytest.raises(InputError, match="by a link"):
        cgroups.knob("cpu_weight", "job", "linked")


def test_without_any_mount_there_is_no_knob(tmp_path: Path) -> None:
    assert Cgroups(tmp_path / "none").knob("cpu_weight", "job", "shop.slice") is None
