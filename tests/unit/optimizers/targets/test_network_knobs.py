"""Ranges and texts of the kernel's TCP settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.targets.network_knobs import (
    KNOBS,
    RMEM,
    SLOW_START,
    Numbers,
    assignment,
    path_of,
    read_knob,
)


def test_a_knob_is_the_file_of_its_name() -> None:
    assert str(path_of(RMEM)) == "/proc/sys/net/ipv4/tcp_rmem"


def test_the_command_line_is_one_that_a_shell_takes() -> None:
    assert assignment(RMEM, "1\t2\t3") == "net.ipv4.tcp_rmem='1 2 3'"


@pytest.mark.parametrize(
    "text", ["", "1 2", "1 2 3 4", "0 1 2", "1 2 2147483648", "3 2 1", "a b c", "1 2 ٣", "-1 2 3"]
)
def test_what_the_kernel_would_not_keep_is_a_fault(text: str) -> None:
    numbers = KNOBS[RMEM]
    assert numbers is not None
    assert numbers.fault(text)


@given(st.lists(st.integers(1, 2**31 - 1), min_size=3, max_size=3).map(sorted))
def test_three_numbers_that_do_not_fall_are_taken(values: list[int]) -> None:
    numbers = KNOBS[RMEM]
    assert numbers is not None
    assert numbers.fault("\t".join(map(str, values))) == ""


def test_a_single_number_keeps_to_its_range() -> None:
    assert KNOBS[SLOW_START] == Numbers(1, 0, 1)
    assert Numbers(1, 0, 1).fault("2") == "it goes from 0 to 1"


def test_present_values_are_read_as_the_kernel_prints_them() -> None:
    assert f"{read_knob(RMEM)}\n" == path_of(RMEM).read_text()
