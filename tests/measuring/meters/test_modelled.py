"""Meters for what no counter covers."""

from __future__ import annotations

import os

import pytest

from joulewise.catalogue.load_curve import share_of_full_load
from joulewise.measuring.meters.modelled import (
    FLASH_J_PER_BYTE,
    NETWORK_J_PER_BYTE,
    ModelledCpuMeter,
    ModelledMemoryMeter,
    NetworkMeter,
    StorageMeter,
    find_modelled,
    full_load_of,
)
from joulewise.testing.clock import FakeClock
from joulewise.testing.contracts import MeterContract, MeterRig
from joulewise.testing.procfs import FakeProc
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.recording import Component, Machine

MACHINE = Machine("host", cpus=4, owned_cpus=4.0, memory_bytes=16_000_000_000, owned_memory_bytes=None)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def proc(tmp_path):
    return FakeProc(tmp_path, cpus=4)


def diskstats(proc: FakeProc, **sectors: int) -> None:
    rows = [f"   8 0 {name} 10 0 {count} 5 10 0 {count} 5 0 0 0 0 0 0\n" for name, count in sectors.items()]
    (proc.root / "diskstats").write_text("".join(rows))


class TestModelledCpuMeter(MeterContract):
    @pytest.fixture
    def rig(self, proc, clock):
        def advance(joules: float) -> None:
            clock.sleep(joules / 100.0)
            proc.machine(busy_s=4 * joules / 100.0)

        meter = ModelledCpuMeter(MACHINE, 100.0, proc=str(proc.root), monotonic=clock.monotonic_s)
        return MeterRig(meter, advance=advance, exact_to=0.2)

    @pytest.mark.parametrize("utilisation", [0.0, 0.25, 0.5, 1.0])
    def test_power_follows_the_curve(self, proc, clock, utilisation):
        """At a steady load the joules are full-load watts times the curve times the time."""
        meter = ModelledCpuMeter(MACHINE, 100.0, proc=str(proc.root), monotonic=clock.monotonic_s)
        for _ in range(10):
            clock.sleep(1.0)
            proc.machine(busy_s=4 * utilisation)
            last = meter.read()

        assert last.energy_j == pytest.approx(1000.0 * share_of_full_load(utilisation))

    def test_first_look_comes_soon(self, proc, clock):
        """A tenth of a second of full load right after opening is not taken for standing by."""
        meter = ModelledCpuMeter(MACHINE, 100.0, proc=str(proc.root), monotonic=clock.monotonic_s)
        meter.read()
        clock.sleep(0.1)
        proc.machine(busy_s=0.4)

        assert meter.read().energy_j == pytest.approx(10.0)

    def test_never_takes_back(self, proc, clock):
        """What was said between two looks is not taken back when the load turns out lower."""
        meter = ModelledCpuMeter(MACHINE, 100.0, proc=str(proc.root), monotonic=clock.monotonic_s)
        clock.sleep(1.0)
        proc.machine(busy_s=4.0)
        meter.read()
        clock.sleep(0.1)
        said = meter.read().energy_j
        clock.sleep(0.15)

        assert meter.read().energy_j >= said

    def test_unreadable_load_is_unknown(self, proc, clock):
        """While the load cannot be read the joules are unknown, and they go on afterwards."""
        meter = ModelledCpuMeter(MACHINE, 100.0, proc=str(proc.root), monotonic=clock.monotonic_s)
        (proc.root / "stat").rename(proc.root / "away")
        clock.sleep(5.0)
        lost = meter.read()
        (proc.root / "away").rename(proc.root / "stat")
        proc.machine(busy_s=20.0)
        clock.sleep(5.0)

        assert lost.energy_j is None
        assert "cannot be read" in lost.why
        assert meter.read().energy_j == pytest.approx(10 * 100.0 * share_of_full_load(0.5))

    def test_model_is_written_down(self, proc):
        """The parameters that attribution needs stand in the device."""
        device = ModelledCpuMeter(MACHINE, 100.0, proc=str(proc.root)).device

        assert device.model["full_load_w"] == 100.0
        assert device.basis is Basis.MODELLED
        assert 0 < device.error_low < 1


class TestModelledMemoryMeter(MeterContract):
    @pytest.fixture
    def rig(self, clock):
        meter = ModelledMemoryMeter(16_000_000_000, monotonic=clock.monotonic_s)
        return MeterRig(meter, advance=lambda joules: clock.sleep(joules / (16 * 0.38)), exact_to=1e-6)


class TestStorageMeter(MeterContract):
    @pytest.fixture
    def rig(self, proc, tmp_path):
        moved = {"nvme0n1": 1000}
        diskstats(proc, **moved)
        meter = StorageMeter(["nvme0n1"], proc=str(proc.root), sys=str(tmp_path))

        def advance(joules: float) -> None:
            moved["nvme0n1"] += round(joules / FLASH_J_PER_BYTE / 512 / 2)
            diskstats(proc, **moved)

        return MeterRig(meter, advance=advance, exact_to=1e-4)

    def test_partitions_do_not_count_twice(self, proc, tmp_path):
        """Only whole disks count; partitions, loops and device-mapper stand on them."""
        diskstats(proc, sda=1000, sda1=1000, loop0=7, **{"dm-0": 9})
        found = find_modelled(1, proc=str(proc.root), sys=str(tmp_path))
        storage = next(m for m in found.meters if m.device.component is Component.STORAGE)
        diskstats(proc, sda=2000, sda1=2000, loop0=70, **{"dm-0": 90})

        assert storage.read().raw == 2 * 2000 * 512

    def test_unknown_kind_is_assumed(self, proc, tmp_path):
        """A disk that does not say what it is, is assumed, with room for a spinning one."""
        diskstats(proc, vda=1)
        device = StorageMeter(["vda"], proc=str(proc.root), sys=str(tmp_path)).device

        assert device.basis is Basis.ASSUMED
        assert device.error_high > 10


class TestNetworkMeter(MeterContract):
    @pytest.fixture
    def rig(self, proc):
        proc.start(77)
        proc.network()
        meter = NetworkMeter(77, proc=str(proc.root))

        def advance(joules: float) -> None:
            proc.network(received_bytes=round(joules / NETWORK_J_PER_BYTE))

        return MeterRig(meter, advance=advance, exact_to=1e-3)


def test_everything_is_found_here():
    """On a Linux machine processor, memory and network have a model, and none is measured."""
    devices = [m.device for m in find_modelled(os.getpid()).meters]

    assert {Component.CPU, Component.MEMORY} <= {d.component for d in devices}
    assert all(d.basis is not Basis.MEASURED for d in devices)


def test_nothing_to_read(tmp_path):
    """Where the load cannot be read the processor is missing, with a reason."""
    found = find_modelled(1, proc=str(tmp_path), sys=str(tmp_path))

    assert found.meters == ()
    assert found.missing[0].source == "cpu"


def test_what_the_user_knows_wins():
    """Full-load watts from the settings replace every table."""
    assert full_load_of(MACHINE, 250.0).value == 250.0


def test_known_processor_is_known_better():
    """A processor whose TDP is known has a narrower interval than an unknown one."""
    known = Machine(
        "h", 64, 64.0, None, None, "AMD EPYC 7763 64-Core Processor", virtual=False, facts={"sockets": 1}
    )
    unknown = Machine("h", 64, 64.0, None, None, "AMD EPYC", virtual=True)

    def width(machine: Machine) -> float:
        figure = full_load_of(machine)
        return figure.high / figure.low

    assert width(known) < width(unknown)


def test_virtual_machine_owns_a_part_of_its_socket():
    """A virtual machine on a known processor is charged its vCPUs' share of the socket."""
    small = Machine("h", 2, 2.0, None, None, "AMD EPYC 7763 64-Core Processor", virtual=True)
    large = Machine("h", 64, 64.0, None, None, "AMD EPYC 7763 64-Core Processor", virtual=True)

    assert full_load_of(large).value == pytest.approx(32 * full_load_of(small).value)
