"""What the whole machine did."""

from __future__ import annotations

import pytest

from joulewise.measuring.counters import MachineCounters
from joulewise.testing.procfs import FakeProc

PID = 4_000_001


@pytest.fixture
def proc(tmp_path):
    fake = FakeProc(tmp_path, memory_bytes=8_000_000_000)
    fake.start(PID)
    fake.network()
    return fake


def test_busy_without_idle(proc):
    """Busy seconds leave out idling and waiting for I/O."""
    proc.machine(busy_s=3.0, idle_s=10.0, iowait_s=2.0)

    sample = MachineCounters(PID, str(proc.root)).sample(0.0)

    assert sample["busy_cpu_s"] == pytest.approx(3.0)
    assert sample["iowait_s"] == pytest.approx(2.0)


def test_loopback_is_no_network(proc):
    """Bytes over loopback never left the machine and do not count."""
    proc.network(received_bytes=500, sent_bytes=70)

    sample = MachineCounters(PID, str(proc.root)).sample(0.0)

    assert (sample["received_bytes"], sample["sent_bytes"]) == (500.0, 70.0)


def test_network_outlives_its_process(proc):
    """When the process whose network is counted has ended, its last figures stand."""
    counters = MachineCounters(PID, str(proc.root))
    proc.network(received_bytes=500)
    counters.sample(0.0)
    proc.end(PID)

    assert counters.sample(10.0)["received_bytes"] == 500.0


def test_no_pressure_is_unknown(proc):
    """A kernel without pressure files gives unknown, not zero."""
    proc.pressure(io_s=None)
    assert MachineCounters(PID, str(proc.root)).sample(0.0)["pressure_io_s"] is None

    proc.pressure(io_s=1.5)
    assert MachineCounters(PID, str(proc.root)).sample(0.0)["pressure_io_s"] == pytest.approx(1.5)


def test_memory_in_use(proc):
    """Memory in use is what new work could not have."""
    proc.memory(available_bytes=2_000_000_000)

    used = MachineCounters(PID, str(proc.root)).sample(0.0)["memory_used_bytes"]

    assert used == pytest.approx(6_000_000_000, rel=1e-6)


def test_no_proc_is_unknown(tmp_path):
    """Where /proc cannot be read, everything is unknown."""
    sample = MachineCounters(PID, str(tmp_path)).sample(0.0)

    assert set(sample.values()) == {None}
