from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.measures import Measure, Unavailable
from benchmarks.power import PowerMeter, find_sensor
from config.clock import ManualClock


def write(root: Path, **files: str) -> None:
    for name, content in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")


def rapl(root: Path, energy: list[int]) -> None:
    for number, value in enumerate(energy):
        zone = root / "powercap" / f"intel-rapl:{number}"
        write(zone, energy_uj=str(value), max_energy_range_uj="1000000000")
        # A part of the package, which must not be counted twice.
        write(root / "powercap" / f"intel-rapl:{number}:0", energy_uj="1")


def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


def test_rapl_counts_all_packages_over_several_stretches(tmp_path: Path) -> None:
    rapl(tmp_path, [0, 0])
    time = clock()
    meter = PowerMeter(find_sensor(tmp_path), time)
    for end in (10_000_000, 30_000_000):
        with meter.during():
            time.advance(1.0)
            rapl(tmp_path, [end, end])
    # 60 J in 2 s.
    assert meter.reading() == Measure("power", 30.0, "W")


def test_a_rapl_counter_that_wraps_is_put_right(tmp_path: Path) -> None:
    rapl(tmp_path, [999_000_000, 5_000_000])
    time = clock()
    meter = PowerMeter(find_sensor(tmp_path), time)
    with meter.during():
        time.advance(1.0)
        rapl(tmp_path, [4_000_000, 6_000_000])
    assert meter.reading() == Measure("power", 6.0, "W")


def test_a_hwmon_sensor_gives_microwatts(tmp_path: Path) -> None:
    write(tmp_path / "hwmon" / "hwmon1", power1_input="4000000")
    time = clock()
    meter = PowerMeter(find_sensor(tmp_path), time)
    with meter.during():
        time.advance(2.0)
        write(tmp_path / "hwmon" / "hwmon1", power1_input="6000000")
    assert meter.reading() == Measure("power", 5.0, "W")


@pytest.mark.parametrize(
    "files",
    [{"power_now": "7500000"}, {"current_now": "750000", "voltage_now": "10000000"}],
)
def test_a_discharging_battery_gives_the_machines_power(
    tmp_path: Path, files: dict[str, str]
) -> None:
    write(tmp_path / "power_supply" / "BAT0", status="Discharging", **files)
    time = clock()
    meter = PowerMeter(find_sensor(tmp_path), time)
    with meter.during():
        time.advance(1.0)
    assert meter.reading() == Measure("power", 7.5, "W")


def test_a_charging_battery_says_nothing_about_the_machine(tmp_path: Path) -> None:
    write(tmp_path / "power_supply" / "BAT0", status="Charging", power_now="9000000")
    assert isinstance(find_sensor(tmp_path), Unavailable)


def test_no_sensor_is_unavailable_and_not_zero(tmp_path: Path) -> None:
    time = clock()
    meter = PowerMeter(find_sensor(tmp_path), time)
    with meter.during():
        time.advance(1.0)
    reading = meter.reading()
    assert isinstance(reading, Unavailable)
    assert "no RAPL counter" in reading.reason


def test_a_sensor_that_holds_no_number_is_named(tmp_path: Path) -> None:
    write(tmp_path / "hwmon" / "hwmon1", power1_input="n/a")
    found = find_sensor(tmp_path)
    assert isinstance(found, Unavailable)
    assert "hwmon1/power1_input cannot be read" in found.reason


def test_a_sensor_lost_on_the_way_is_unavailable(tmp_path: Path) -> None:
    rapl(tmp_path, [0])
    time = clock()
    meter = PowerMeter(find_sensor(tmp_path), time)
    with meter.during():
        time.advance(1.0)
        (tmp_path / "powercap" / "intel-rapl:0" / "energy_uj").unlink()
    reading = meter.reading()
    assert isinstance(reading, Unavailable)
    assert "RAPL stopped answering" in reading.reason


def test_a_counter_that_stands_still_is_no_measurement(tmp_path: Path) -> None:
    rapl(tmp_path, [5])
    time = clock()
    meter = PowerMeter(find_sensor(tmp_path), time)
    with meter.during():
        time.advance(1.0)
    assert isinstance(meter.reading(), Unavailable)
