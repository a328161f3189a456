"""The perf_event leaf: events, places, permission, and the real system call with an event that every machine has."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from joulewise.measuring.meters.perf import find_perf, open_event
from joulewise.measuring.meters.port import Found
from joulewise.testing.contracts import MeterContract, MeterRig
from joulewise.testing.perf import SCALE_J, PerfEvents
from joulewise.vocabulary.recording import Component


def find(events: PerfEvents, tmp_path: Path, vendor: str = "GenuineIntel", family: int = 6) -> Found:
    """Look for events as on a host named `host`."""
    cpuinfo, paranoid = tmp_path / "cpuinfo", tmp_path / "paranoid"
    cpuinfo.write_text(f"vendor_id\t: {vendor}\ncpu family\t: {family}\n")
    paranoid.write_text("4\n")
    return find_perf(
        events.devices,
        opener=events.open,
        read=events.read,
        topology=events.topology,
        paranoid=paranoid,
        host="host",
        cpuinfo=cpuinfo,
    )


def ids(found: Found) -> list[str]:
    """Return the ids of the devices found."""
    return [meter.device.id for meter in found.meters]


class TestPerfMeter(MeterContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> MeterRig:
        events = PerfEvents(tmp_path)
        (meter, *_) = find(events, tmp_path).meters
        return MeterRig(
            meter,
            advance=lambda joules: events.advance("energy-pkg", joules),
            lose=events.lose,
            restore=events.restore,
            exact_to=1e-8,
        )

    def test_counts_are_scaled_and_kept(self, tmp_path: Path) -> None:
        """The reading carries the raw count; the joules are the count times the PMU's scale."""
        events = PerfEvents(tmp_path)
        (meter, *_) = find(events, tmp_path).meters
        events.advance("energy-pkg", 3.0)
        reading = meter.read()

        assert reading.energy_j == 3.0
        assert reading.raw == 3 / SCALE_J

    def test_more_than_32_bits(self, tmp_path: Path) -> None:
        """A count beyond 32 bits goes on: the kernel has folded the wraps."""
        events = PerfEvents(tmp_path)
        (meter, *_) = find(events, tmp_path).meters
        events.advance("energy-pkg", 1e6)

        assert meter.read().energy_j == pytest.approx(1e6)


class TestFindPerf:
    def test_a_server(self, tmp_path: Path) -> None:
        """Each package and memory is read on the processor of its own; psys is the node and is never added."""
        events = PerfEvents(
            tmp_path, packages=2, events=("energy-cores", "energy-pkg", "energy-psys", "energy-ram")
        )
        found = find(events, tmp_path)
        events.advance("energy-ram", 5, cpu=18)
        energy = {meter.device.id: meter.read().energy_j for meter in found.meters}

        assert energy == {
            "rapl:package-0": 0,
            "rapl:package-1": 0,
            "rapl:dram-0": 0,
            "rapl:dram-1": 5,
            "rapl:psys": 0,
            "rapl:psys-1": 0,
        }
        assert {m.device.id for m in found.meters if m.device.component is Component.NODE} == {
            "rapl:psys",
            "rapl:psys-1",
        }

    def test_the_same_silicon_as_powercap(self, tmp_path: Path) -> None:
        """A package has the uuid that the powercap leaf gives it, so that nobody counts it twice."""
        (package, memory) = find(PerfEvents(tmp_path), tmp_path).meters

        assert package.device.uuid == "host:package-0"
        assert memory.device.uuid == "host:dram-0"
        assert (package.device.error_high, memory.device.error_high) == (0.05, 0.10)

    def test_dies(self, tmp_path: Path) -> None:
        """Intel's dies count each for itself, named as the powercap leaf names them."""
        events = PerfEvents(tmp_path, packages=2, dies=2, events=("energy-pkg",))

        assert ids(find(events, tmp_path)) == [f"rapl:package-{p}-die-{d}" for p in (0, 1) for d in (0, 1)]

    def test_amd_dies_are_one_counter(self, tmp_path: Path) -> None:
        """AMD's counter is the socket's: several dies in the mask count once; before Zen 3 it is good to 10 %."""
        events = PerfEvents(tmp_path, packages=2, dies=4, events=("energy-pkg",))
        found = find(events, tmp_path, "AuthenticAMD", 23)

        assert ids(found) == ["rapl:package-0", "rapl:package-1"]
        assert found.meters[0].device.error_high == 0.10

    def test_denied(self, tmp_path: Path) -> None:
        """Without permission nothing is opened, and one message says the level seen and the line to run."""
        events = PerfEvents(tmp_path, packages=2)
        events.refuse("energy-ram", errno.EACCES)
        found = find(events, tmp_path)

        assert found.meters == ()
        (missing,) = found.missing
        assert "kernel.perf_event_paranoid is 4" in missing.why
        assert "sudo sysctl kernel.perf_event_paranoid=0" in missing.remedy
        assert "CAP_PERFMON" in missing.why
        assert "--cap-add PERFMON" in missing.remedy

    @pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV])
    def test_an_event_that_is_not_there(self, tmp_path: Path, code: int) -> None:
        """An event that is announced but cannot be opened is missing by name; the others count."""
        events = PerfEvents(tmp_path)
        events.refuse("energy-ram", code)
        found = find(events, tmp_path)

        assert ids(found) == ["rapl:package-0"]
        assert [m.source for m in found.missing] == ["rapl:dram-0"]
        assert os.strerror(code) in found.missing[0].why

    def test_no_pmu_is_nothing(self, tmp_path: Path) -> None:
        """A machine without the PMU has no such source, and nothing is missing."""
        assert find_perf(tmp_path) == Found()

    def test_a_pmu_that_says_nonsense(self, tmp_path: Path) -> None:
        """A PMU whose files cannot be understood is missing, and its message names it."""
        events = PerfEvents(tmp_path)
        (events.devices / "power" / "cpumask").write_text("all\n")
        (missing,) = find(events, tmp_path).missing

        assert str(events.devices / "power") in missing.why

    def test_ranges_of_processors(self, tmp_path: Path) -> None:
        """A mask written as a range names each processor in it."""
        events = PerfEvents(tmp_path, events=("energy-pkg",))
        events.cpus = [0, 1]
        (events.devices / "power" / "cpumask").write_text("0-1\n")
        (events.topology / "cpu1/topology").mkdir(parents=True)
        (events.topology / "cpu1/topology/physical_package_id").write_text("1\n")

        assert ids(find(events, tmp_path)) == ["rapl:package-0", "rapl:package-1"]


@pytest.mark.service
def test_the_real_system_call(tmp_path: Path) -> None:
    """The kernel takes our perf_event_open: its own clock event on processor 0 counts nanoseconds up."""
    pmu = tmp_path / "power" / "events"
    pmu.mkdir(parents=True)
    (pmu.parent / "type").write_text("1\n")  # software events
    (pmu.parent / "cpumask").write_text("0\n")
    (pmu / "energy-pkg").write_text("event=0x00\n")  # the processor's clock, in nanoseconds
    (pmu / "energy-pkg.scale").write_text("1e-9\n")
    try:
        os.close(open_event(1, 0, 0))
    except OSError as fault:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"perf_event_open needs root or CAP_PERFMON here: {fault.strerror}")
    (meter,) = find_perf(tmp_path).meters
    first, second = meter.read(), meter.read()
    meter.close()

    assert first.energy_j is not None
    assert second.energy_j is not None
    assert 0 < first.energy_j < second.energy_j < 60
