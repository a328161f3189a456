"""Processor and memory energy through perf_event_open: the counters of `rapl.py` by the kernel's better road.

The kernel folds the 32-bit hardware counter into 64 bits by a timer of its own, so there is no wrap to get wrong,
and a read is one system call without text. One event counts a whole package, whichever process opens it, on the
one processor per package (or die) that the PMU's `cpumask` names. The count starts at zero when it is opened and
is turned into joules by `events/energy-pkg.scale` (2^-32 on today's kernels).

  energy-pkg   the package                           counted
  energy-ram   memory beside it (Intel servers)      counted
  energy-psys  the platform                          shown as the node, never added
`energy-cores` and `energy-gpu` are inside the package and are left out.

Counting a whole processor needs root, CAP_PERFMON or kernel.perf_event_paranoid <= 0; without, the kernel says
EACCES and the powercap files are tried. Errors are those of RAPL: 5 % (10 % on AMD before Zen 3), memory 10 %.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import final

from joulewise.measuring.meters.host import CPUINFO, Processor, host_key, processor
from joulewise.measuring.meters.port import Found
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, Missing, Reading

DEVICES = Path("/sys/bus/event_source/devices")
TOPOLOGY = Path("/sys/devices/system/cpu")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")

_EVENTS = {
    "energy-pkg": ("package", Component.CPU, Boundary.DEVICE, 0.05),
    "energy-ram": ("dram", Component.MEMORY, Boundary.DEVICE, 0.10),
    "energy-psys": ("psys", Component.NODE, Boundary.NODE, 0.10),
}
_SYSCALL = {"x86_64": 298, "aarch64": 241}
_CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC

Opener = Callable[[int, int, int], int]
"""What opens an event: type, config and processor to a file descriptor, or OSError as the kernel would."""


def open_event(kind: int, config: int, cpu: int) -> int:
    """Return a descriptor of a counting event for every process on `cpu`; raises OSError as the kernel says."""
    import ctypes
    import errno
    import struct

    number = _SYSCALL.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"perf_event_open is not known for {os.uname().machine}")
    # struct perf_event_attr, first published size: type, size, config, sample_period, sample_type, read_format,
    # flags (nothing excluded, nothing inherited, enabled at once), wakeup_events, bp_type, config1.
    attributes = struct.pack("=IIQQQQQIIQ", kind, 64, config, 0, 0, 0, 0, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    everyone, no_group = -1, -1
    fd = libc.syscall(
        ctypes.c_long(number), ctypes.c_char_p(attributes), ctypes.c_int(everyone), ctypes.c_int(cpu),
        ctypes.c_int(no_group), ctypes.c_ulong(_CLOSE_ON_EXEC),
    )  # fmt: skip
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(fd)


@final
class PerfMeter:
    """One energy event on one processor: a package, its memory or the platform.

    `fd` answers each `read(fd, 8)` with the count in native byte order, as the kernel's descriptors do; the meter
    owns it. `scale_j` is joules per count.
    """

    def __init__(
        self, device: Device, fd: int, scale_j: float, read: Callable[[int, int], bytes] = os.read
    ) -> None:
        self.device = device
        self._id = device.id
        self._fd = fd
        self._scale_j = scale_j
        self._read = read
        self._used = 0
        self._last = self._count()

    def read(self) -> Reading:
        """Return joules since opening and the raw count; None and why where it cannot be read."""
        try:
            now = self._count()
        except OSError as fault:
            return Reading(self._id, None, Basis.MEASURED, why=f"perf event of {self._id}: {fault.strerror}")
        why = ""
        if now >= self._last:
            self._used += now - self._last
        else:
            why = f"perf event of {self._id} went back from {self._last} to {now}; this step is left out"
        self._last = now
        return Reading(self._id, self._used * self._scale_j, Basis.MEASURED, now, why)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _count(self) -> int:
        if self._fd < 0:
            raise OSError(0, "the meter was closed")
        answer = self._read(self._fd, 8)
        if len(answer) != 8:  # the kernel answers nothing for an event in error
            raise OSError(0, f"{len(answer)} bytes instead of 8")
        return int.from_bytes(answer, sys.byteorder)


def find_perf(
    root: Path = DEVICES,
    *,
    opener: Opener = open_event,
    read: Callable[[int, int], bytes] = os.read,
    topology: Path = TOPOLOGY,
    paranoid: Path = PARANOID,
    host: str | None = None,
    cpuinfo: Path = CPUINFO,
) -> Found:
    """Return one meter per package, memory and platform event of the PMU `power` under `root`.

    `opener` and `read` are the two system calls; `host` is the first half of the devices' uuid.
    """
    pmu = root / "power"
    if not pmu.is_dir():
        return Found()
    key, silicon = host or host_key(), processor(cpuinfo)
    try:
        kind = int(_text(pmu / "type"))
        places = _places(pmu, topology, silicon)
    except (OSError, ValueError) as fault:
        return Found(missing=(Missing("RAPL (perf)", f"{pmu}: {fault}"),))
    meters: list[PerfMeter] = []
    missing: list[Missing] = []
    for event, (noun, component, boundary, error) in _EVENTS.items():
        if not (pmu / "events" / event).exists():
            continue
        for cpu, package in places:
            label = noun if noun == "psys" and package == "0" else f"{noun}-{package}"
            own_error = silicon.counter_error if component is Component.CPU else error
            device = Device(
                f"rapl:{label}", component, "perf", Basis.MEASURED, boundary, own_error, own_error,
                f"RAPL, perf {event} on cpu{cpu}", f"{key}:{label}",
            )  # fmt: skip
            try:
                config = _config(_text(pmu / "events" / event))
                scale_j = float(_text(pmu / "events" / f"{event}.scale"))
                fd = opener(kind, config, cpu)
            except PermissionError:
                for meter in meters:
                    meter.close()
                return Found(missing=(_denied(paranoid),))
            except (OSError, ValueError) as fault:
                missing.append(Missing(device.id, f"perf {event} on cpu{cpu}: {fault}"))
                continue
            try:
                meters.append(PerfMeter(device, fd, scale_j, read))
            except OSError as fault:
                os.close(fd)
                missing.append(Missing(device.id, f"perf {event} on cpu{cpu}: {fault}"))
    return Found(tuple(meters), tuple(missing))


def _places(pmu: Path, topology: Path, silicon: Processor) -> list[tuple[int, str]]:
    """Return (processor, package) for each one that counts; the package is `0`, or `0-die-1` if it has several.

    AMD's package counter is the socket's however many dies the kernel lists, so there each socket counts once.
    """
    cpus = _cpus(_text(pmu / "cpumask"))
    found = [
        (cpu, _number(topology, cpu, "physical_package_id"), _number(topology, cpu, "die_id")) for cpu in cpus
    ]
    if silicon.amd:
        first = {package: cpu for cpu, package, _ in reversed(found)}
        return [(cpu, str(package)) for package, cpu in sorted(first.items())]
    packages = [package for _, package, _ in found]
    return [
        (cpu, str(package) if packages.count(package) == 1 else f"{package}-die-{die}")
        for cpu, package, die in found
    ]


def _number(topology: Path, cpu: int, name: str) -> int:
    try:
        return int(_text(topology / f"cpu{cpu}" / "topology" / name))
    except FileNotFoundError:
        return 0


def _cpus(mask: str) -> list[int]:
    """Return the processors of a kernel list: `0,18` or `0-1,4`."""
    cpus: list[int] = []
    for part in mask.split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def _config(event: str) -> int:
    """Return the number in `event=0x02`."""
    name, _, number = event.partition("=")
    if name != "event":
        raise ValueError(f"event is described as {event!r}, expected event=NUMBER")
    return int(number, 0)


def _denied(paranoid: Path) -> Missing:
    try:
        level = f"kernel.perf_event_paranoid is {_text(paranoid)}, and this process has no CAP_PERFMON"
    except OSError:
        level = "this process has no CAP_PERFMON"
    return Missing(
        "RAPL (perf)",
        f"counting a whole processor is not permitted: {level}",
        "until the next boot: sudo sysctl kernel.perf_event_paranoid=0 ; for good: echo kernel.perf_event_paranoid=0 | "
        "sudo tee /etc/sysctl.d/70-joulewise.conf ; in a container: --cap-add PERFMON",
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
