"""What the machine is, and what the recorded work owns of it.

In a container or a batch job a program sees every processor of its host and owns a few of them. What it owns is the
least of its affinity (which a cpuset narrows) and of the CPU quotas of its cgroup and all above it. Controllers are
found through mountinfo, never assumed under /sys/fs/cgroup: version 1, version 2 and both at once are all in use.

A virtual machine tells its own processors, not which part of its host's it is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from joulewise.catalogue.uplift import chassis_of
from joulewise.measuring.process_tree import read_small
from joulewise.vocabulary.recording import Machine

_NO_LIMIT_BYTES = 1 << 60  # cgroup v1 writes "no limit" as a number near 2^63


def machine(pid: int | None = None, proc: str = "/proc", sys: str = "/sys") -> Machine:
    """Return the machine and what process `pid` (this one by default) owns of it. What cannot be read is None."""
    who = str(pid) if pid is not None else "self"
    model, flags = _cpuinfo(proc)
    cpus = _count(read_small(f"{sys}/devices/system/cpu/online").decode())
    memory_bytes = _memory_bytes(proc)
    limits = limits_of(who, proc)
    virtual = "hypervisor" in flags if flags else None
    facts: dict[str, Any] = {
        "chassis": chassis_of(_number(f"{sys}/class/dmi/id/chassis_type"), virtual).value,
        "sockets": _sockets(f"{sys}/devices/system/cpu", cpus),
        "battery": _has_battery(f"{sys}/class/power_supply"),
    }
    return Machine(
        host=os.uname().nodename,
        cpus=cpus,
        owned_cpus=_least(_affinity(pid), limits.cpus, cpus),
        memory_bytes=memory_bytes,
        owned_memory_bytes=_least(limits.memory_bytes, memory_bytes),
        cpu_model=model,
        virtual=virtual,
        facts={key: value for key, value in facts.items() if value is not None},
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cgroups of a process allow it; None where they do not limit it."""

    cpus: float | None = None
    memory_bytes: int | None = None


def limits_of(who: str, proc: str = "/proc") -> Limits:
    """Return the tightest CPU quota and memory limit of the process's cgroup and of all above it."""
    cpus: list[float] = []
    memory: list[int] = []
    for kind, folder, top in _groups(who, proc):
        for level in _upwards(folder, top):
            if kind == "cgroup2":
                cpus += _quota_v2(f"{level}/cpu.max")
                memory += _limit(f"{level}/memory.max")
            else:
                cpus += _quota_v1(level)
                memory += _limit(f"{level}/memory.limit_in_bytes")
    return Limits(min(cpus, default=None), min(memory, default=None))


def _groups(who: str, proc: str) -> Iterator[tuple[str, str, str]]:
    """Yield version, folder of the process's group and mount point for each hierarchy that can limit it."""
    paths: dict[str, str] = {}
    for line in read_small(f"{proc}/{who}/cgroup").decode(errors="replace").splitlines():
        _hierarchy, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    for line in read_small(f"{proc}/{who}/mountinfo").decode(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) < 5 or len(rest) < 3 or rest[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = fields[3], fields[4].replace("\\040", " ")
        names = [""] if rest[0] == "cgroup2" else [c for c in rest[2].split(",") if c in ("cpu", "memory")]
        for name in names:
            if name in paths:
                yield rest[0], _below(point, root, paths[name]), point


def _below(point: str, root: str, path: str) -> str:
    """Return the group's folder: a mount may show a part of the tree only (containers)."""
    if root != "/" and path.startswith(root):
        path = path[len(root) :]
    inner = path.strip("/")
    if ".." in inner.split("/"):  # outside what this namespace may see
        return point
    return f"{point}/{inner}" if inner else point


def _upwards(folder: str, top: str) -> Iterator[str]:
    while folder.startswith(top):
        yield folder
        if folder == top:
            return
        folder = os.path.dirname(folder)


def _quota_v2(path: str) -> list[float]:
    fields = read_small(path).split()
    if len(fields) != 2 or not fields[0].isdigit():
        return []
    return [int(fields[0]) / int(fields[1])]


def _quota_v1(folder: str) -> list[float]:
    quota, period = read_small(f"{folder}/cpu.cfs_quota_us"), read_small(f"{folder}/cpu.cfs_period_us")
    if not quota.strip().isdigit() or not period.strip().isdigit():  # -1 is no quota
        return []
    return [int(quota) / int(period)]


def _limit(path: str) -> list[int]:
    text = read_small(path).strip()
    return [int(text)] if text.isdigit() and int(text) < _NO_LIMIT_BYTES else []


def _affinity(pid: int | None) -> float | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        return float(len(os.sched_getaffinity(pid or 0)))
    except OSError:
        return None


def _least(*values: float | None) -> Any:
    return min((v for v in values if v is not None), default=None)


def _count(ranges: str) -> int | None:
    """Return how many numbers `0-3,8` names."""
    total = 0
    for part in ranges.strip().split(","):
        first, _, last = part.partition("-")
        if not first.isdigit():
            return os.cpu_count()
        total += int(last or first) - int(first) + 1
    return total


def _cpuinfo(proc: str) -> tuple[str, frozenset[str]]:
    """Return the first processor's model name and its flags (the file repeats them for every CPU)."""
    model, flags = "", frozenset[str]()
    for line in read_small(f"{proc}/cpuinfo").decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Hardware", "cpu model") and not model:
            model = value.strip()
        elif name.strip() in ("flags", "Features") and not flags:
            flags = frozenset(value.split())
        if not line.strip():
            break
    return model, flags


def _memory_bytes(proc: str) -> int | None:
    first = read_small(f"{proc}/meminfo").partition(b"\n")[0].split()
    return int(first[1]) * 1024 if len(first) > 1 and first[0] == b"MemTotal:" else None


def _sockets(folder: str, cpus: int | None) -> int | None:
    packages = {read_small(f"{folder}/cpu{n}/topology/physical_package_id").strip() for n in range(cpus or 0)}
    return len(packages - {b""}) or None


def _has_battery(folder: str) -> bool | None:
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    return any(read_small(f"{folder}/{name}/type").strip() == b"Battery" for name in names)


def _number(path: str) -> int | None:
    text = read_small(path).strip()
    return int(text) if text.isdigit() else None
