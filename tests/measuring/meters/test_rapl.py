"""The powercap leaf: which zones count, exact wraps, counters set back, permission, cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.measuring.meters import rapl
from joulewise.measuring.meters.host import Processor, host_key, processor
from joulewise.measuring.meters.port import Found
from joulewise.measuring.meters.rapl import PowercapMeter, find_powercap
from joulewise.testing.clock import FakeClock
from joulewise.testing.contracts import MeterContract, MeterRig
from joulewise.testing.powercap import Layout, PowercapTree
from joulewise.vocabulary.figures import Boundary
from joulewise.vocabulary.recording import Component, Device, Missing

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n"
AMD_ZEN_2 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\n"
AMD_ZEN_4 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\n"


def find(tree: PowercapTree, tmp_path: Path, cpuinfo: str = INTEL, clock: FakeClock | None = None) -> Found:
    """Look for zones as on a host named `host`."""
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    return find_powercap(tree.folder, monotonic=(clock or FakeClock()).monotonic_s, host="host", cpuinfo=path)


def devices(found: Found) -> dict[str, Device]:
    """Return the devices found, by id."""
    return {meter.device.id: meter.device for meter in found.meters}


class TestPowercapMeter(MeterContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> MeterRig:
        tree = PowercapTree(tmp_path, Layout(range_uj=100_000_000, start_uj=60_000_000))
        (meter, *_) = find(tree, tmp_path).meters
        return MeterRig(
            meter,
            advance=lambda joules: tree.advance("package-0", joules),
            lose=lambda: tree.lose("package-0"),
            restore=lambda: tree.restore("package-0"),
        )

    def test_wrap(self, tmp_path: Path) -> None:
        """A counter that starts near its top and wraps between two reads still adds up, to the microjoule."""
        tree = PowercapTree(tmp_path, Layout(range_uj=262_143_328_850, start_uj=262_143_328_849))
        meter = PowercapMeter(tree.folder / "intel-rapl:0")
        tree.set("package-0", 41)
        reading = meter.read()

        assert (reading.energy_j, reading.raw, reading.why) == (42e-6, 41, "")

    def test_raw_is_kept(self, tmp_path: Path) -> None:
        """The reading carries the counter itself, so that a fault in the sum can be repaired later."""
        tree = PowercapTree(tmp_path, Layout(start_uj=5_000_000))
        meter = PowercapMeter(tree.folder / "intel-rapl:0")
        tree.advance("package-0", 2)

        assert meter.read().raw == 7_000_000

    def test_set_back(self, tmp_path: Path) -> None:
        """A counter that restarts (driver loaded again) adds no giant step, says so once, and goes on."""
        clock = FakeClock()
        tree = PowercapTree(tmp_path, Layout(start_uj=90_000_000_000))
        (meter, *_) = find(tree, tmp_path, clock=clock).meters
        tree.advance("package-0", 100)
        clock.sleep(1)
        assert meter.read().energy_j == 100
        tree.set("package-0", 1_000)
        clock.sleep(1)
        reset = meter.read()
        tree.advance("package-0", 7)
        clock.sleep(1)
        after = meter.read()

        assert reset.energy_j == 100
        assert "went back from 90100000000 to 1000" in reset.why
        assert (after.energy_j, after.why) == (107, "")

    def test_wrap_after_a_long_pause(self, tmp_path: Path) -> None:
        """A step over the top that the time allows is a wrap, however large."""
        clock = FakeClock()
        tree = PowercapTree(tmp_path, Layout(range_uj=65_532_610_987, start_uj=65_000_000_000))
        (meter, *_) = find(tree, tmp_path, clock=clock).meters
        clock.sleep(160)
        tree.advance("package-0", 64_000)
        reading = meter.read()

        assert (reading.energy_j, reading.why) == (64_000, "")

    def test_zero_forever_is_zero(self, tmp_path: Path) -> None:
        """A zone whose counter never moves from zero has used zero: it is there and can be read."""
        tree = PowercapTree(tmp_path, Layout(packages=2))
        found = find(tree, tmp_path)

        assert "rapl:dram-0" in devices(found)
        assert {meter.read().energy_j for meter in found.meters} == {0.0}
        assert found.missing == ()

    def test_after_closing_it_says_so(self, tmp_path: Path) -> None:
        """A closed meter opens nothing anew; it answers that it was closed."""
        tree = PowercapTree(tmp_path)
        meter = PowercapMeter(tree.folder / "intel-rapl:0")
        meter.close()

        assert "closed" in meter.read().why

    def test_a_folder_without_number(self, tmp_path: Path) -> None:
        """A counter file that holds no number cannot be opened, and the error names the file."""
        tree = PowercapTree(tmp_path)
        tree.close()
        (tmp_path / "devices/virtual/powercap/intel-rapl/intel-rapl:0/energy_uj").write_text("broken\n")

        with pytest.raises(OSError, match="energy_uj"):
            PowercapMeter(tree.folder / "intel-rapl:0")
        assert [m.source for m in find(tree, tmp_path).missing] == ["rapl:package-0"]

    def test_the_hot_path_is_one_system_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A read opens nothing and looks up no path: one pread."""
        tree = PowercapTree(tmp_path)
        meter = PowercapMeter(tree.folder / "intel-rapl:0")
        monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened a file"))
        monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("read by Path"))

        assert meter.read().energy_j == 0


@given(
    start=st.integers(0, 999),
    steps=st.lists(st.tuples(st.integers(0, 999), st.floats(0.5, 2.0)), max_size=60),
)
def test_any_steps_add_up(
    tmp_path_factory: pytest.TempPathFactory, start: int, steps: list[tuple[int, float]]
) -> None:
    """Whatever the counter does between reads, as long as it is less than one turn, the joules are the exact sum."""
    tree = PowercapTree(tmp_path_factory.mktemp("sys"), Layout(range_uj=1000, start_uj=start))
    clock = FakeClock()
    meter = PowercapMeter(tree.folder / "intel-rapl:0", monotonic=clock.monotonic_s)
    total_uj = 0
    for step_uj, seconds in steps:
        clock.sleep(seconds)
        tree.advance("package-0", step_uj / 1e6)
        total_uj += step_uj
        assert meter.read().energy_j == total_uj / 1e6
    meter.close()
    tree.close()


class TestFindPowercap:
    def test_a_desktop(self, tmp_path: Path) -> None:
        """The package and its memory count; core does not appear; psys is the node and is never added."""
        found = devices(find(PowercapTree(tmp_path), tmp_path))

        assert list(found) == ["rapl:package-0", "rapl:dram-0", "rapl:psys"]
        assert [d.component for d in found.values()] == [Component.CPU, Component.MEMORY, Component.NODE]
        assert [d.counted for d in found.values()] == [True, True, False]
        assert found["rapl:psys"].boundary is Boundary.NODE
        assert found["rapl:package-0"].uuid == "host:package-0"
        assert found["rapl:dram-0"].uuid == "host:dram-0"

    def test_two_sockets(self, tmp_path: Path) -> None:
        """Each package and each memory is a device of its own, and its own counter moves it."""
        tree = PowercapTree(tmp_path, Layout(packages=2, psys=False))
        found = find(tree, tmp_path)
        tree.advance("package-1", 11)
        tree.advance("dram-0", 3)

        assert {m.device.id: m.read().energy_j for m in found.meters} == {
            "rapl:package-0": 0,
            "rapl:dram-0": 3,
            "rapl:package-1": 11,
            "rapl:dram-1": 0,
        }

    def test_many_sockets_keep_their_order(self, tmp_path: Path) -> None:
        """Package 10 comes after package 9, not after package 1."""
        found = find(PowercapTree(tmp_path, Layout(packages=12, dram=False, psys=False)), tmp_path)

        assert list(devices(found)) == [f"rapl:package-{n}" for n in range(12)]

    def test_names_not_numbers(self, tmp_path: Path) -> None:
        """What a zone covers is its name: a psys that comes first and a swapped package are read right."""
        tree = PowercapTree(tmp_path, Layout(packages=2, dram=False))
        zones = tmp_path / "devices/virtual/powercap/intel-rapl"
        (zones / "intel-rapl:0/name").write_text("psys\n")
        (zones / "intel-rapl:2/name").write_text("package-0\n")
        found = devices(find(tree, tmp_path))

        assert found["rapl:psys"].source.endswith("intel-rapl:0")
        assert found["rapl:package-0"].source.endswith("intel-rapl:2")

    def test_mmio_is_the_same_package(self, tmp_path: Path) -> None:
        """A package that is shown by MSR and by MMIO counts once, by MSR."""
        found = devices(find(PowercapTree(tmp_path, Layout(mmio=True)), tmp_path))

        assert list(found) == ["rapl:package-0", "rapl:dram-0", "rapl:psys"]
        assert "mmio" not in found["rapl:package-0"].source

    def test_mmio_alone(self, tmp_path: Path) -> None:
        """Where only MMIO shows the package, that is what counts."""
        tree = PowercapTree(tmp_path, Layout(mmio=True))
        for link in sorted(tree.folder.iterdir()):
            if link.name.startswith("intel-rapl:"):
                link.unlink()

        assert list(devices(find(tree, tmp_path))) == ["rapl:package-0", "rapl:dram-0"]

    def test_dies(self, tmp_path: Path) -> None:
        """Dies with counters of their own are devices of their own."""
        found = find(PowercapTree(tmp_path, Layout(dies=2, dram=False, psys=False)), tmp_path)

        assert list(devices(found)) == ["rapl:package-0-die-0", "rapl:package-0-die-1"]

    def test_mirrored_dies(self, tmp_path: Path) -> None:
        """Dies that show one socket-wide counter count once."""
        layout = Layout(packages=2, dies=4, mirrored=True, dram=False, psys=False, start_uj=7_000_000)
        found = find(PowercapTree(tmp_path, layout), tmp_path)

        assert list(devices(found)) == ["rapl:package-0-die-0", "rapl:package-1-die-0"]

    def test_amd_dies_are_their_socket(self, tmp_path: Path) -> None:
        """AMD's mirrored dies are one device with the name of the socket, the same that perf and hwmon give it."""
        layout = Layout(dies=2, mirrored=True, dram=False, psys=False, start_uj=7_000_000)
        found = devices(find(PowercapTree(tmp_path, layout), tmp_path, AMD_ZEN_2))

        assert [(device.id, device.uuid) for device in found.values()] == [
            ("rapl:package-0", "host:package-0")
        ]

    def test_two_zones_of_one_name(self, tmp_path: Path) -> None:
        """Two zones with one name and a counter each are both counted, under ids of their own."""
        tree = PowercapTree(tmp_path, Layout(dies=2, dram=False, psys=False))
        for number in (0, 1):
            (tmp_path / f"devices/virtual/powercap/intel-rapl/intel-rapl:{number}/name").write_text(
                "package-0\n"
            )

        assert list(devices(find(tree, tmp_path))) == ["rapl:package-0", "rapl:package-0@intel-rapl:1"]

    def test_two_zones_of_one_name_and_one_counter(self, tmp_path: Path) -> None:
        """Two zones with one name that stand at one energy are one counter."""
        tree = PowercapTree(
            tmp_path, Layout(dies=2, mirrored=True, dram=False, psys=False, start_uj=9_000_000)
        )
        for number in (0, 1):
            (tmp_path / f"devices/virtual/powercap/intel-rapl/intel-rapl:{number}/name").write_text(
                "package-0\n"
            )

        assert list(devices(find(tree, tmp_path))) == ["rapl:package-0"]

    @pytest.mark.parametrize(("cpuinfo", "error"), [(INTEL, 0.05), (AMD_ZEN_2, 0.10), (AMD_ZEN_4, 0.05)])
    def test_errors(self, tmp_path: Path, cpuinfo: str, error: float) -> None:
        """A package is good to 5 %, on AMD before Zen 3 to 10 %; memory to 10 %."""
        found = devices(find(PowercapTree(tmp_path), tmp_path, cpuinfo))

        assert (found["rapl:package-0"].error_low, found["rapl:package-0"].error_high) == (error, error)
        assert found["rapl:dram-0"].error_high == 0.10

    def test_no_powercap_is_nothing(self, tmp_path: Path) -> None:
        """A machine without the folder has no such source, and nothing is missing."""
        assert find_powercap(tmp_path / "absent") == Found()

    def test_a_folder_without_zones(self, tmp_path: Path) -> None:
        """Powercap without RAPL zones is said, with what to try."""
        (missing,) = find_powercap(tmp_path).missing

        assert "no RAPL zone" in missing.why
        assert missing.remedy.endswith("sudo modprobe intel_rapl_msr")

    def test_a_container_that_hides_the_zones(self, tmp_path: Path) -> None:
        """Links that lead nowhere (a container that masks the real folder) are said to be hidden."""
        (tmp_path / "intel-rapl:0").symlink_to("../../devices/virtual/powercap/intel-rapl/intel-rapl:0")
        (missing,) = find_powercap(tmp_path).missing

        assert "hidden from this container" in missing.why

    def test_denied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Counters for root only are missing, in one message with the line that opens them; never zero."""
        tree = PowercapTree(tmp_path)
        real_open = os.open

        def deny(path: str, flags: int, mode: int = 0o777) -> int:
            if str(path).endswith("energy_uj"):
                raise PermissionError(13, "Permission denied", path)
            return real_open(path, flags, mode)

        monkeypatch.setattr(rapl.os, "open", deny)  # type: ignore[attr-defined]
        found = find(tree, tmp_path)

        assert found.meters == ()
        (missing,) = found.missing
        assert missing.why == f"{tree.folder}/intel-rapl:0/energy_uj (and 2 more) is readable by root only"
        assert f"sudo chmod a+r {tree.folder}/intel-rapl*:*/energy_uj" in missing.remedy
        assert "/etc/udev/rules.d/" in missing.remedy
        assert isinstance(missing, Missing)


class TestHost:
    def test_the_boot_id_names_the_host(self, tmp_path: Path) -> None:
        """The boot id comes first, the machine id where there is none, the host name at last."""
        boot, machine = tmp_path / "boot", tmp_path / "machine"
        assert host_key(boot, machine) == os.uname().nodename
        machine.write_text("m\n")
        assert host_key(boot, machine) == "m"
        boot.write_text("b\n")
        assert host_key(boot, machine) == "b"

    def test_an_unknown_processor(self, tmp_path: Path) -> None:
        """Where the kernel does not tell the processor, its counter is taken for a modern one."""
        (tmp_path / "arm").write_text("processor\t: 0\nCPU implementer\t: 0x41\n")

        assert processor(tmp_path / "arm") == processor(tmp_path / "absent") == Processor()
        assert Processor().counter_error == 0.05
