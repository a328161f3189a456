"""`joulewise top` says who uses and holds what now, and what standing by costs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from joulewise.catalogue.place import place
from joulewise.cli.top import Process, Sample, Watcher, command, command_of, overview, read_processes, render
from joulewise.testing import nvml
from joulewise.testing.meters import HandMeter, ReplayMeter, device
from joulewise.testing.procfs import FakeProc
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.recording import Component, GpuUsage, Machine

MACHINE = Machine("host", 4, 4.0, 16_000_000_000, None, "Test CPU")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CPU = device("rapl:package-0", Component.CPU)
MEMORY = device("model:memory", Component.MEMORY)
GPU = device("nvml:GPU-1", Component.GPU)
PLACE = place(zone="DE", chassis="server", tariff="0.30EUR/kWh")


def samples(*, cpu_w=100.0, busy_s=20.0, used=None, gpus=((), 0.0), gpu_w=50.0, gpu_busy=None, span_s=10.0):
    """Return two samples ten seconds apart; `used` gives the CPU seconds of each process id."""
    used = {10: 15.0, 20: 5.0} if used is None else used

    def sample(part):
        return Sample(
            t_s=part * span_s,
            energy_j={
                CPU.id: cpu_w * span_s * part,
                GPU.id: gpu_w * span_s * part,
                MEMORY.id: 5.0 * span_s * part,
            },
            counters={
                "busy_cpu_s": None if busy_s is None else 100 + busy_s * part,
                "memory_used_bytes": 4e9,
            },
            processes={pid: Process(pid, 0, pid, 7.0 + s * part, 1000) for pid, s in used.items()},
            gpus={} if gpus is None else {GPU.id: GpuUsage(gpus[1], 0, 1, gpus[0])},
            gpu_busy={} if gpus is None else {GPU.id: gpu_busy},
        )

    return sample(0), sample(1)


def seen(devices=(CPU,), where=PLACE, **how):
    how.setdefault("gpus", None if GPU not in devices else ((), 0.0))
    before, after = samples(**how)
    return overview(before, after, devices, MACHINE, where, NOW)


def test_watts_by_cpu_seconds():
    """Processes get what the processor draws above standing by, in proportion to their CPU seconds; all adds up."""
    what = seen()

    first, second = what.users
    assert (first.process.pid, first.cpus) == (10, 1.5)
    assert first.power_w.value == pytest.approx(3 * second.power_w.value)
    whole = first.power_w.value + second.power_w.value + what.idle_w.value
    assert whole == pytest.approx(what.power_w.value) == pytest.approx(100.0)
    assert first.power_w.low < first.power_w.value < first.power_w.high


def test_what_is_not_seen_is_charged_to_nobody():
    """CPU seconds of processes that are not seen are said, and their watts are nobody's here."""
    hidden, open_ = seen(used={10: 15.0}), seen()

    assert hidden.unseen_cpus == pytest.approx(0.5)
    assert open_.unseen_cpus == pytest.approx(0.0)
    assert hidden.users[0].power_w == open_.users[0].power_w
    assert "not seen by this user" in render(hidden)


def test_idle_processor_stands_by():
    """A processor that nobody uses stands by with all that it draws."""
    what = seen(cpu_w=30.0, busy_s=0.0, used={10: 0.0})

    assert what.users == ()
    assert what.idle_w.value == pytest.approx(30.0)


def test_idle_gpu_that_is_held():
    """A GPU that is held and does nothing stands by: who holds it is named, at its joules a day and its money."""
    what = seen((GPU,), gpus=((10,), 0.0), gpu_w=50.0)

    (gpu,) = what.devices
    assert (gpu.used, gpu.holders) == (0.0, (10,))
    assert gpu.idle_w.value == pytest.approx(50.0)
    wall_j = 50.0 * 86400 * PLACE.uplift.value
    assert gpu.idle_day_j.value == pytest.approx(wall_j)
    assert gpu.idle_day_cost.value == pytest.approx(wall_j * PLACE.pue.value / 3.6e6 * 0.30)
    assert (what.idle_day_j, what.idle_day_cost) == (gpu.idle_day_j, gpu.idle_day_cost)
    assert [u.holds for u in what.users if u.process.pid == 10] == [(GPU.id,)]
    assert "10 (root)" in render(what)


def test_busy_gpu():
    """A GPU in use stands by with nothing, and its watts go to its users by their part of its time."""
    what = seen((GPU,), gpus=((10, 20), 0.8), gpu_w=300.0, gpu_busy={10: 0.6, 20: 0.2})

    watts = {u.process.pid: u.power_w.value for u in what.users}
    assert watts == {10: pytest.approx(225.0), 20: pytest.approx(75.0)}
    assert what.devices[0].idle_w.value == 0.0


def test_gpu_that_does_not_tell():
    """A GPU whose use and holders are not told is unknown, not idle and not free."""
    what = seen((GPU,), gpus=(None, None))

    (gpu,) = what.devices
    assert (gpu.used, gpu.holders, gpu.idle_w) == (None, None, None)
    assert gpu.power_w.value == pytest.approx(50.0)
    assert "not told" in render(what)


def test_memory_that_nobody_uses():
    """The part of the memory that is in no use stands by."""
    what = seen((MEMORY,))

    assert what.devices[0].used == pytest.approx(0.25)
    assert what.idle_w.value == pytest.approx(5.0 * 0.75)


def test_sensor_of_the_whole_node_is_not_added():
    """A device inside another, or a node's sensor, is shown and not added."""
    inner = dataclasses.replace(CPU, id="rapl:core", within=CPU.id)
    before, after = samples(gpus=None)
    energy = [{**s.energy_j, inner.id: s.energy_j[CPU.id] / 2} for s in (before, after)]
    before = dataclasses.replace(before, energy_j=energy[0])
    after = dataclasses.replace(after, energy_j=energy[1])

    what = overview(before, after, (CPU, inner), MACHINE, PLACE, NOW)

    assert what.power_w is not None
    assert what.power_w.value == pytest.approx(100.0)
    assert "rapl:core (not added)" in render(what)


def test_unknown_load():
    """Where the machine's load cannot be read, watts of processes are unknown, not zero."""
    what = seen(busy_s=None)

    assert what.busy_cpus is None
    assert all(user.power_w is None for user in what.users)
    assert render(what).startswith("unknown of 4 CPUs busy")


def test_no_tariff():
    """Without a tariff the money is unknown, and the line says what to set."""
    what = seen(where=place(zone="DE", chassis="server"))

    assert what.idle_day_cost is None
    assert "tariff" in render(what).splitlines()[-1]


def test_number_used_again():
    """A process that started meanwhile counts from its start, also if it has the number of another."""
    before, after = samples(used={10: 0.0}, gpus=None)
    young = dataclasses.replace(after, processes={10: Process(10, 0, 99, 3.0, 1000)})

    assert overview(before, young, (CPU,), MACHINE, PLACE, NOW).users[0].cpus == pytest.approx(0.3)


def test_limit():
    """Processes beyond the limit are counted in one line."""
    text = render(seen(used=dict.fromkeys(range(10, 20), 1.0)), limit=4)

    assert "6 more processes" in text


def test_commands_without_secrets(tmp_path):
    """A command is shown without its secrets; a kernel thread by its name."""
    proc = FakeProc(tmp_path)
    proc.start(10)
    assert command_of(10, str(tmp_path)) == "[a (odd) name]"

    (tmp_path / "10" / "cmdline").write_bytes(b"python\0train.py\0--token\0hush\0")
    assert command_of(10, str(tmp_path)) == "python train.py --token ***"


def test_processes_are_read(tmp_path):
    """Processes are read with seconds, bytes and owner."""
    proc = FakeProc(tmp_path)
    proc.start(10, resident_bytes=8192)
    proc.work(10, 1.5)

    (found,) = read_processes(str(tmp_path)).values()

    assert (found.pid, found.uid, found.cpu_s, found.resident_bytes) == (10, os.geteuid(), 1.5, 8192)


def test_watcher(tmp_path):
    """A watcher reads what draws power at all times, and gives all meters back."""
    FakeProc(tmp_path)
    cpu, disk = HandMeter(CPU), HandMeter(device("model:storage", Component.STORAGE))
    gpu = ReplayMeter(GPU, [0.0, 9.0], [GpuUsage(0.5, 1, 2, (10,))])
    watcher = Watcher([cpu, disk, gpu], str(tmp_path))

    first, second = watcher.sample(), watcher.sample()
    watcher.close()

    assert [d.id for d in watcher.devices] == [CPU.id, GPU.id]
    assert (first.energy_j[GPU.id], second.energy_j[GPU.id]) == (0.0, 9.0)
    assert second.gpus[GPU.id].process_ids == (10,)
    assert cpu.closed
    assert disk.closed


def test_this_machine():
    """On whatever machine this runs, one look as JSON has this machine's devices and no share above the whole."""
    result = CliRunner().invoke(command, ["--json", "--interval", "0.5"], catch_exceptions=False)
    answer = json.loads(result.stdout)

    assert answer["schema_version"] == 1
    assert {"cpu", "memory"} <= {d["component"] for d in answer["devices"]}
    assert sum(p["cpus"] for p in answer["processes"]) <= answer["busy_cpus"] + 1e-6


def test_without_a_terminal():
    """Without a terminal it looks once and draws nothing but text; with --count as often as asked."""
    once = CliRunner().invoke(command, ["--once", "--interval", "0.2"], catch_exceptions=False).output
    twice = CliRunner().invoke(command, ["--count", "2", "--interval", "0.2"], catch_exceptions=False).output

    assert (once.count("CPUs busy"), twice.count("CPUs busy")) == (1, 2)
    assert "\x1b" not in once + twice


def test_on_a_terminal():
    """On a terminal it looks again and again, each time on a cleared screen, and Ctrl-C ends it with exit code 0."""
    master, slave = os.openpty()
    shown = subprocess.Popen(
        [sys.executable, "-m", "joulewise", "top", "--interval", "0.2"],
        stdout=slave,
        stderr=slave,
        stdin=slave,
    )
    os.close(slave)
    text = b""
    while text.count(b"\x1b[2J") < 3:
        text += os.read(master, 65536)
    shown.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # what it still writes must be read; the end of a terminal is an error
        while os.read(master, 65536):
            pass
    assert shown.wait(30) == 0
    os.close(master)
    assert b"Traceback" not in text


@pytest.mark.skipif(nvml.compiler() is None, reason="no C compiler for the double of NVML")
def test_gpus_of_the_double(tmp_path):
    """GPUs that a driver shows are listed with their watts and holders: two boards of 160 W on average."""
    environment = nvml.environment(nvml.build(tmp_path), GPUS=2, PROCESS=os.getpid(), UTILISATION=0.7)
    done = subprocess.run(
        [sys.executable, "-m", "joulewise", "top", "--json", "--interval", "1"],
        capture_output=True,
        text=True,
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    gpus = [d for d in answer["devices"] if d["component"] == "gpu"]
    assert len(gpus) == 2
    assert [d["held_by"] for d in gpus] == [[os.getpid()]] * 2
    assert [d["power_w"]["value"] for d in gpus] == [pytest.approx(160, rel=0.25)] * 2
    (own,) = [p for p in answer["processes"] if p["pid"] == os.getpid()]
    assert len(own["holds"]) == 2
    assert own["power_w"]["value"] == pytest.approx(sum(d["power_w"]["value"] for d in gpus), rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interval", "0"], "--interval is 0"),
        (["--interval", "nan"], "--interval is nan"),
        (["--json", "--count", "3"], "--count is 3"),
        (["--once", "--count", "2"], "--once looks once"),
    ],
)
def test_bad_input(arguments, words):
    """What cannot be is one line that names the option and the value."""
    error = CliRunner().invoke(command, arguments).exception

    assert isinstance(error, UsageError)
    assert words in str(error)
