"""What the machine is, and what the recorded work owns of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from joulewise.measuring.machine import limits_of, machine


@pytest.fixture
def proc(tmp_path):
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text("MemTotal:       16000000 kB\n")
    (folder / "cpuinfo").write_text(
        "processor: 0\nmodel name\t: Test CPU 9000\nflags\t\t: fpu sse\n\nprocessor: 1\n"
    )
    return folder


@pytest.fixture
def sys(tmp_path):
    folder = tmp_path / "sys"
    (folder / "devices/system/cpu").mkdir(parents=True)
    (folder / "devices/system/cpu/online").write_text("0-3,8\n")
    return folder


def group(
    proc: Path,
    tmp_path: Path,
    kind: str,
    path: str,
    files: dict[str, str],
    root: str = "/",
    controllers: str = "",
) -> None:
    """Put the process into a cgroup with these files; a name is relative to the mount point."""
    point = tmp_path / f"mount-{kind}-{controllers or 'all'}"
    for name, text in files.items():
        target = point / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    options = "rw" if kind == "cgroup2" else f"rw,{controllers}"
    line = f"31 23 0:28 {root} {point} rw,relatime - {kind} cgroup {options}\n"
    for name, text in (
        ("mountinfo", line),
        ("cgroup", f"{'0:' if kind == 'cgroup2' else '4:' + controllers}:{path}\n"),
    ):
        file = proc / "self" / name
        file.write_text((file.read_text() if file.exists() else "") + text)


def test_no_cgroup(proc, sys):
    """Without cgroups the work owns its affinity, and at most what is online."""
    what = machine(proc=str(proc), sys=str(sys))

    assert what.cpus == 5
    assert what.owned_cpus == min(5, len(os.sched_getaffinity(0)))
    assert what.memory_bytes == what.owned_memory_bytes == 16_000_000 * 1024
    assert what.cpu_model == "Test CPU 9000"
    assert what.virtual is False


def test_quota_v2_of_a_parent(proc, tmp_path):
    """The tightest quota above the process counts, not only that of its own group."""
    files = {
        "a/cpu.max": "50000 100000\n",
        "a/b/cpu.max": "max 100000\n",
        "a/b/memory.max": "1000000\n",
        "a/memory.max": "max\n",
    }
    group(proc, tmp_path, "cgroup2", "/a/b", files)

    limits = limits_of("self", str(proc))

    assert (limits.cpus, limits.memory_bytes) == (0.5, 1_000_000)


def test_quota_v1(proc, tmp_path):
    """Version 1 keeps quota and period in two files, and says -1 for none."""
    files = {
        "job/cpu.cfs_quota_us": "150000\n",
        "job/cpu.cfs_period_us": "100000\n",
        "cpu.cfs_quota_us": "-1\n",
        "cpu.cfs_period_us": "100000\n",
    }
    group(proc, tmp_path, "cgroup", "/job", files, controllers="cpu")
    group(
        proc,
        tmp_path,
        "cgroup",
        "/job",
        {"job/memory.limit_in_bytes": "9223372036854771712\n"},
        controllers="memory",
    )

    limits = limits_of("self", str(proc))

    assert (limits.cpus, limits.memory_bytes) == (1.5, None)


def test_both_versions_at_once(proc, tmp_path):
    """With both versions mounted the tighter one counts."""
    group(
        proc,
        tmp_path,
        "cgroup",
        "/x",
        {"x/cpu.cfs_quota_us": "200000", "x/cpu.cfs_period_us": "100000"},
        controllers="cpu",
    )
    group(proc, tmp_path, "cgroup2", "/y", {"y/cpu.max": "100000 100000\n"})

    assert limits_of("self", str(proc)).cpus == 1.0


def test_container_sees_a_part_of_the_tree(proc, tmp_path):
    """A mount that shows only the container's part of the tree is read from its top."""
    group(proc, tmp_path, "cgroup2", "/docker/abc", {"cpu.max": "30000 100000\n"}, root="/docker/abc")

    assert limits_of("self", str(proc)).cpus == pytest.approx(0.3)


def test_group_outside_the_namespace(proc, tmp_path):
    """A group that lies outside what may be seen is read at the mount point, never outside of it."""
    group(proc, tmp_path, "cgroup2", "/../other", {"cpu.max": "70000 100000\n"})

    assert limits_of("self", str(proc)).cpus == pytest.approx(0.7)


def test_virtual_machine(proc, sys):
    """A processor that names a hypervisor is a virtual machine's, which stands in a server."""
    (proc / "cpuinfo").write_text("model name : AMD EPYC\nflags : fpu hypervisor\n\n")

    what = machine(proc=str(proc), sys=str(sys))

    assert what.virtual is True
    assert what.facts["chassis"] == "server"


@pytest.mark.parametrize(
    ("kind", "chassis"), [("10", "laptop"), ("3", "desktop"), ("23", "server"), ("2", "unknown")]
)
def test_chassis(proc, sys, kind, chassis):
    """The firmware's chassis type tells laptop, desktop and server apart."""
    (sys / "class/dmi/id").mkdir(parents=True)
    (sys / "class/dmi/id/chassis_type").write_text(kind + "\n")

    assert machine(proc=str(proc), sys=str(sys)).facts["chassis"] == chassis


def test_sockets_and_battery(proc, sys):
    """Sockets are counted by their package ids; a battery is told from a charger."""
    for cpu, package in enumerate("00112"):
        folder = sys / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(package + "\n")
    for name, kind in (("AC", "Mains"), ("BAT0", "Battery")):
        (sys / "class/power_supply" / name).mkdir(parents=True)
        (sys / "class/power_supply" / name / "type").write_text(kind + "\n")

    facts = machine(proc=str(proc), sys=str(sys)).facts

    assert (facts["sockets"], facts["battery"]) == (3, True)


def test_nothing_can_be_read(tmp_path):
    """Where nothing can be read nothing is made up."""
    what = machine(proc=str(tmp_path), sys=str(tmp_path))

    assert (what.memory_bytes, what.virtual, what.cpu_model) == (None, None, "")


def test_this_machine():
    """On the machine that runs the test, the work owns something, and no more than there is."""
    what = machine()

    assert what.cpus is not None
    assert what.owned_cpus is not None
    assert 0 < what.owned_cpus <= what.cpus
