"""The sensor leaf: counters, integrated power, Jetson rails, and what each chip covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulewise.measuring.meters.hwmon import find_hwmon
from joulewise.measuring.meters.port import Found
from joulewise.testing.clock import FakeClock
from joulewise.testing.contracts import MeterContract, MeterRig
from joulewise.vocabulary.figures import Boundary
from joulewise.vocabulary.recording import Component, Device


def chip(root: Path, number: int, name: str, **files: object) -> Path:
    """Make one chip with its files; `device` is a folder with the bus address as its name."""
    folder = root / "class" / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for file, value in files.items():
        (folder / file).write_text(f"{value}\n")
    place = root / "bus" / f"0000:0{number}:00.0"
    place.mkdir(parents=True)
    (folder / "device").symlink_to(place)
    return folder


def find(root: Path, clock: FakeClock | None = None) -> Found:
    """Look for sensors as on a host named `host`."""
    return find_hwmon(root / "class", monotonic=(clock or FakeClock()).monotonic_s, host="host")


def devices(found: Found) -> dict[str, Device]:
    """Return the devices found, by the last word of their source (the channel's label)."""
    return {meter.device.source.split()[-1]: meter.device for meter in found.meters}


class TestHwmonEnergyMeter(MeterContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> MeterRig:
        counter = (
            chip(tmp_path, 0, "amd_energy", energy1_input=70_000_000, energy1_label="Esocket0")
            / "energy1_input"
        )
        (meter,) = find(tmp_path).meters
        state = {"uj": 70_000_000, "there": 1}

        def advance(joules: float) -> None:
            state["uj"] += round(joules * 1e6)
            if state["there"]:
                counter.write_text(f"{state['uj']}\n")

        def lose() -> None:
            state["there"] = 0
            counter.write_text("")
            counter.unlink()

        def restore() -> None:
            state["there"] = 1
            counter.write_text(f"{state['uj']}\n")

        return MeterRig(meter, advance, lose, restore)

    def test_set_back(self, tmp_path: Path) -> None:
        """A 64-bit counter that goes back was set back: the step is left out and said once."""
        folder = chip(tmp_path, 0, "amd_energy", energy1_input=9_000_000, energy1_label="Esocket0")
        (meter,) = find(tmp_path).meters
        (folder / "energy1_input").write_text("1000000\n")
        reset = meter.read()
        (folder / "energy1_input").write_text("3000000\n")
        after = meter.read()

        assert (reset.energy_j, after.energy_j) == (0, 2)
        assert "went back" in reset.why
        assert after.why == ""


class TestHwmonPowerMeter(MeterContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> MeterRig:
        """Make a chip at a steady 100 W: it uses joules by letting time pass."""
        power = chip(tmp_path, 0, "amdgpu", power1_average=100_000_000) / "power1_average"
        clock = FakeClock()
        (meter,) = find(tmp_path, clock).meters

        def lose() -> None:
            power.write_text("")
            power.unlink()

        return MeterRig(
            meter,
            lambda joules: clock.sleep(joules / 100),
            lose,
            lambda: _write(power, 100_000_000),
            exact_to=1e-6,
        )

    def test_trapezoid(self, tmp_path: Path) -> None:
        """Power that climbs evenly between two reads is integrated exactly: the mean times the time."""
        clock = FakeClock()
        folder = chip(tmp_path, 0, "amdgpu", power1_input=100_000_000)
        (meter,) = find(tmp_path, clock).meters
        clock.sleep(2)
        (folder / "power1_input").write_text("300000000\n")
        reading = meter.read()

        assert (reading.energy_j, reading.raw) == (400, 300_000_000)

    def test_negative_power_does_not_go_back(self, tmp_path: Path) -> None:
        """A rail that shows a small negative current at rest takes no energy back."""
        clock = FakeClock()
        chip(tmp_path, 0, "ina3221", in1_input=5000, in1_label="VDD_CPU_CV", curr1_input=-8)
        (meter,) = find(tmp_path, clock).meters
        clock.sleep(10)

        assert meter.read().energy_j == 0


class TestRails(MeterContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> MeterRig:
        """Make a Jetson rail of 5 V and 2 A."""
        folder = chip(tmp_path, 0, "ina3221", in1_input=5000, in1_label="VDD_GPU_SOC", curr1_input=2000)
        clock = FakeClock()
        (meter,) = find(tmp_path, clock).meters
        current = folder / "curr1_input"

        def lose() -> None:
            current.write_text("")
            current.unlink()

        return MeterRig(meter, lambda joules: clock.sleep(joules / 10), lose, lambda: _write(current, 2000))

    def test_orin(self, tmp_path: Path) -> None:
        """Millivolts times milliamperes are microwatts; each rail is the part that it feeds; NC feeds nothing."""
        chip(tmp_path, 0, "ina3221",
             in1_label="VDD_GPU_SOC", in1_input=10_000, curr1_input=3_000,
             in2_label="VDD_CPU_CV", in2_input=10_000, curr2_input=1_000,
             in3_label="VIN_SYS_5V0", in3_input=5_000, curr3_input=800,
             in7_label="sum of shunt voltages", curr4_input=4_800)  # fmt: skip
        chip(tmp_path, 1, "ina3221",
             in1_label="NC", in1_input=0, curr1_input=0,
             in2_label="VDDQ_VDD2_1V8AO", in2_input=5_000, curr2_input=100)  # fmt: skip
        clock = FakeClock()
        found = find(tmp_path, clock)
        clock.sleep(1)
        energy = {meter.device.source.split()[-1]: meter.read().energy_j for meter in found.meters}

        assert energy == {"VDD_GPU_SOC": 30, "VDD_CPU_CV": 10, "VIN_SYS_5V0": 4, "VDDQ_VDD2_1V8AO": 0.5}
        assert {name: device.component for name, device in devices(found).items()} == {
            "VDD_GPU_SOC": Component.GPU,
            "VDD_CPU_CV": Component.CPU,
            "VIN_SYS_5V0": Component.OTHER,
            "VDDQ_VDD2_1V8AO": Component.MEMORY,
        }

    def test_orin_nano(self, tmp_path: Path) -> None:
        """A rail for the whole module is the node beside its parts; the one shared by CPU and GPU says so."""
        chip(tmp_path, 0, "ina3221",
             in1_label="VDD_IN", in1_input=5000, curr1_input=1000,
             in2_label="VDD_CPU_GPU_CV", in2_input=5000, curr2_input=100,
             in3_label="VDD_SOC", in3_input=5000, curr3_input=100)  # fmt: skip
        found = devices(find(tmp_path))

        assert not found["VDD_IN"].counted
        assert found["VDD_CPU_GPU_CV"].note.startswith("one rail for CPU, GPU")
        assert found["VDD_SOC"].component is Component.OTHER


class TestFindHwmon:
    def test_amd_sockets(self, tmp_path: Path) -> None:
        """The socket counts and is the silicon of rapl:package-0; its cores are inside it and do not appear."""
        chip(
            tmp_path,
            0,
            "amd_energy",
            energy1_input=1,
            energy1_label="Ecore000",
            energy2_input=5,
            energy2_label="Esocket0",
        )
        (meter,) = find(tmp_path).meters

        assert meter.device.component is Component.CPU
        assert meter.device.uuid == "host:package-0"
        assert meter.device.error_high == 0.05

    def test_the_power_meter_is_the_node(self, tmp_path: Path) -> None:
        """An ACPI power meter sees the whole machine at its supply: wall power, never added to the parts."""
        chip(tmp_path, 0, "power_meter", power1_average=250_000_000, power1_average_interval=1000)
        (meter,) = find(tmp_path).meters

        assert (meter.device.component, meter.device.boundary) == (Component.NODE, Boundary.WALL)
        assert not meter.device.counted

    def test_gpus(self, tmp_path: Path) -> None:
        """AMD GPUs are told apart by their own number, Intel's card contains its package."""
        chip(tmp_path, 0, "amdgpu", power1_average=9, power1_input=8, power1_label="PPT")
        (tmp_path / "bus/0000:00:00.0/unique_id").write_text("a1b2\n")
        chip(tmp_path, 1, "xe", energy1_input=1, energy1_label="card", energy2_input=1, energy2_label="pkg")
        amd, intel = (meter.device for meter in find(tmp_path).meters)

        assert (amd.component, intel.component) == (Component.GPU, Component.GPU)
        assert amd.uuid == "amdgpu:a1b2"
        assert (amd.error_high, intel.error_high) == (0.10, 0.05)
        assert intel.id == "hwmon:xe-0000:01:00.0-card"

    def test_a_moment_is_worse_than_an_average(self, tmp_path: Path) -> None:
        """A chip that shows only the power of the moment has the wider error and says why."""
        chip(tmp_path, 0, "amdgpu", power1_input=8)
        (meter,) = find(tmp_path).meters

        assert meter.device.error_high == 0.15
        assert meter.device.note == "power of the moment, integrated between reads"

    def test_an_unknown_chip_is_never_added(self, tmp_path: Path) -> None:
        """A sensor that is not known is shown as the node: adding it could count a part twice."""
        chip(tmp_path, 0, "corsairpsu", power1_input=100, power1_label="power total")
        chip(tmp_path, 1, "ina3221", in1_label="LED_STRIP", in1_input=1, curr1_input=1)
        found = find(tmp_path)

        assert [meter.device.counted for meter in found.meters] == [False, False]
        assert all("not known" in meter.device.note for meter in found.meters)

    def test_chips_without_energy_are_nothing(self, tmp_path: Path) -> None:
        """Thermometers, chips without a name and machines without sensors are neither found nor missing."""
        chip(tmp_path, 0, "coretemp", temp1_input=40_000)
        (tmp_path / "class" / "hwmon1").mkdir()

        assert find(tmp_path) == find_hwmon(tmp_path / "absent") == Found()

    def test_a_sensor_that_cannot_be_read(self, tmp_path: Path) -> None:
        """A sensor without a number is missing by name, and the message names its file."""
        chip(tmp_path, 0, "amdgpu", power1_average="")
        (missing,) = find(tmp_path).missing

        assert missing.source.startswith("hwmon:amdgpu")
        assert "power1_average: holds no number" in missing.why

    def test_ids_are_unlike(self, tmp_path: Path) -> None:
        """Two equal chips at two places have two ids and two uuids."""
        chip(tmp_path, 0, "amdgpu", power1_average=1)
        chip(tmp_path, 1, "amdgpu", power1_average=1)
        found = find(tmp_path)

        assert len({meter.device.id for meter in found.meters}) == 2
        assert len({meter.device.uuid for meter in found.meters}) == 2


def _write(path: Path, value: int) -> None:
    path.write_text(f"{value}\n")
