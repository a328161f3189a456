"""Meters for what no counter covers: the processor by its load, memory by its size, storage and network by bytes.

What they say is modelled or assumed, and its interval says how poorly it is known (`catalogue.load_curve`). Each
meter models its whole device, as a counter would see it; whose joules they are is `measuring.attribution`'s business,
and the parameters that it needs stand in the device's `model`.

processor   watts at full load x the measured load curve at the machine's utilisation, integrated between reads.
            Full load is sockets x TDP where processor and sockets are known, the vCPUs' share of the TDP in a virtual
            machine whose processor is known, and else a cloud's mean watts per vCPU.
memory      watts by size: 0.38 W/GB (Crucial 0.375, Micron 0.408; Green Algorithms 0.3725). Measured servers drew
            0.13 to 0.47 W/GB from idle to full load, hence +-50 %.
storage     joules by byte moved: active watts over throughput in vendors' data sheets, flash 1-3 J/GB, disks
            30-50 J/GB. At rest is left out: nobody can say whose it is.
network     joules by byte: 0.001 kWh/GB between data centres, the lowest figure published; traffic and power are
            nearly uncorrelated (Coroama 2021), so -80/+500 %.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from typing import final

from joulewise.catalogue.load_curve import full_load, share_of_full_load
from joulewise.catalogue.processors import find_processor
from joulewise.measuring.counters import MachineCounters
from joulewise.measuring.machine import machine as this_machine
from joulewise.measuring.meters.host import host_key
from joulewise.measuring.meters.port import Found, Meter
from joulewise.measuring.process_tree import TICKS_PER_S, read_small
from joulewise.vocabulary.figures import Basis, Boundary, Figure, relative
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component, Device, Machine, Missing, Reading

MEMORY_W_PER_BYTE = 0.38e-9
FLASH_J_PER_BYTE = 2e-9
DISK_J_PER_BYTE = 40e-9
NETWORK_J_PER_BYTE = 0.001 * JOULES_PER_KWH / 1e9
_SECTOR_BYTES = 512  # the unit of /proc/diskstats, whatever the disk's own is
_WHOLE_DISK = re.compile(r"(?:sd[a-z]+|vd[a-z]+|xvd[a-z]+|hd[a-z]+|nvme\d+n\d+|mmcblk\d+)$")
_LOOK_EVERY_S = 0.2  # utilisation over less than this is too coarse: the kernel counts in 10 ms
_FIRST_LOOK_S = 0.05  # but a coarse first look is better than none: until then idle watts are all there is


def find_modelled(
    network_pid: int,
    *,
    full_load_w: float | None = None,
    proc: str = "/proc",
    sys: str = "/sys",
    monotonic: Callable[[], float] = time.monotonic,
) -> Found:
    """Return a meter for each part that can be modelled here; `full_load_w` is the processors' watts if the user knows."""
    host = host_key()
    here = this_machine(network_pid if os.path.exists(f"{proc}/{network_pid}") else None, proc, sys)
    meters: list[Meter] = []
    missing: list[Missing] = []
    if here.cpus and read_small(f"{proc}/stat").startswith(b"cpu"):
        meters.append(ModelledCpuMeter(here, full_load_w, host, proc, monotonic))
    else:
        missing.append(
            Missing(
                "cpu", "the machine's load cannot be read (no /proc/stat)", "run on Linux, or name a meter"
            )
        )
    if here.memory_bytes:
        meters.append(ModelledMemoryMeter(here.memory_bytes, host, monotonic))
    if disks := _disks(proc):
        meters.append(StorageMeter(disks, host, proc, sys))
    if read_small(f"{proc}/{network_pid}/net/dev"):
        meters.append(NetworkMeter(network_pid, host, proc))
    return Found(tuple(meters), tuple(missing))


@final
class ModelledCpuMeter:
    """All processors of the machine as the kernel sees it, by their load."""

    def __init__(
        self,
        machine: Machine,
        full_load_w: float | None = None,
        host: str = "",
        proc: str = "/proc",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        watts = full_load_of(machine, full_load_w)
        self.device = Device(
            id="model:cpu",
            component=Component.CPU,
            meter="modelled",
            basis=watts.basis,
            boundary=Boundary.DEVICE,
            error_low=watts.relative_low,
            error_high=watts.relative_high,
            source=f"load curve of eleven measured servers; {watts.source}",
            uuid=f"{host}:cpu",
            note="no energy counter can be read here",
            model={
                "full_load_w": watts.value,
                "idle_share": share_of_full_load(0.0),
                "cpus": machine.cpus,
                "arms_by_load": watts.basis is Basis.MODELLED and not machine.virtual and full_load_w is None,
            },
        )
        self._full_load_w = watts.value
        self._stat = f"{proc}/stat"
        self._cpus = machine.cpus or 1
        self._monotonic = monotonic
        self._joules = 0.0
        self._look_after_s = _FIRST_LOOK_S
        self._said_j = 0.0  # what was said between two looks is never taken back
        self._power_w = watts.value * share_of_full_load(0.0)
        self._at_s, self._busy_s = monotonic(), self._busy()

    def read(self) -> Reading:
        """Return joules since opening, by the mean load since the last look."""
        now_s = self._monotonic()
        span_s = max(0.0, now_s - self._at_s)
        joules = self._joules + self._power_w * span_s
        if span_s >= self._look_after_s:
            busy_s = self._busy()
            if busy_s is None or self._busy_s is None:
                self._busy_s = busy_s if self._busy_s is None else self._busy_s
                return Reading(self.device.id, None, self.device.basis, why=f"{self._stat} cannot be read")
            utilisation = min(1.0, max(0.0, busy_s - self._busy_s) / (span_s * self._cpus))
            self._power_w = self._full_load_w * share_of_full_load(utilisation)
            self._joules = joules = self._joules + self._power_w * span_s
            self._at_s, self._busy_s, self._look_after_s = now_s, busy_s, _LOOK_EVERY_S
        self._said_j = max(self._said_j, joules)
        return Reading(self.device.id, self._said_j, self.device.basis)

    def close(self) -> None:
        """Nothing is held open."""

    def _busy(self) -> float | None:
        fields = read_small(self._stat).partition(b"\n")[0].split()
        if len(fields) < 8:
            return None
        user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[1:8])
        return (user + nice + system + irq + softirq) / TICKS_PER_S


@final
class ModelledMemoryMeter:
    """The machine's memory, by its size."""

    def __init__(
        self, size_bytes: int, host: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.device = Device(
            id="model:memory",
            component=Component.MEMORY,
            meter="modelled",
            basis=Basis.MODELLED,
            boundary=Boundary.DEVICE,
            error_low=0.5,
            error_high=0.5,
            source="0.38 W/GB of memory (Crucial, Micron, Green Algorithms)",
            uuid=f"{host}:memory",
            model={"watts": size_bytes * MEMORY_W_PER_BYTE},
        )
        self._power_w = size_bytes * MEMORY_W_PER_BYTE
        self._monotonic = monotonic
        self._opened_s = monotonic()

    def read(self) -> Reading:
        """Return joules since opening."""
        return Reading(
            self.device.id, self._power_w * (self._monotonic() - self._opened_s), self.device.basis
        )

    def close(self) -> None:
        """Nothing is held open."""


@final
class StorageMeter:
    """All disks of the machine, by the bytes that they moved."""

    def __init__(self, disks: Sequence[str], host: str = "", proc: str = "/proc", sys: str = "/sys") -> None:
        spinning = [read_small(f"{sys}/block/{d}/queue/rotational").strip() for d in disks]
        # virtual disks call themselves spinning; only a bare sd or hd that does is one
        slow = bool(disks) and all(
            s == b"1" and d.startswith(("sd", "hd")) for d, s in zip(disks, spinning, strict=True)
        )
        known = all(d.startswith("nvme") or s == b"0" for d, s in zip(disks, spinning, strict=True)) or slow
        per_byte = DISK_J_PER_BYTE if slow else FLASH_J_PER_BYTE
        self.device = Device(
            id="model:storage",
            component=Component.STORAGE,
            meter="modelled",
            basis=Basis.MODELLED if known else Basis.ASSUMED,
            boundary=Boundary.DEVICE,
            error_low=0.5 if known else 0.9,
            error_high=0.5 if known else 20.0,  # it may be a disk after all
            source=f"{per_byte * 1e9:g} J/GB moved ({'disk' if slow else 'flash'}, vendors' data sheets)",
            uuid=f"{host}:storage",
            note="power at rest is not in it",
            model={"joules_per_byte": per_byte},
        )
        self._disks = frozenset(d.encode() for d in disks)
        self._stats = f"{proc}/diskstats"
        self._per_byte = per_byte
        self._begin = self._bytes()

    def read(self) -> Reading:
        """Return joules since opening."""
        now = self._bytes()
        if now is None or self._begin is None:
            return Reading(self.device.id, None, self.device.basis, why=f"{self._stats} cannot be read")
        return Reading(self.device.id, max(0, now - self._begin) * self._per_byte, self.device.basis, raw=now)

    def close(self) -> None:
        """Nothing is held open."""

    def _bytes(self) -> int | None:
        lines = read_small(self._stats).splitlines()
        sectors = 0
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[2] in self._disks:
                sectors += int(fields[5]) + int(fields[9])
        return sectors * _SECTOR_BYTES if lines else None


@final
class NetworkMeter:
    """The network of one process's namespace, by the bytes that came and went (loopback left out)."""

    def __init__(self, pid: int, host: str = "", proc: str = "/proc") -> None:
        self.device = Device(
            id="model:network",
            component=Component.NETWORK,
            meter="modelled",
            basis=Basis.ASSUMED,
            boundary=Boundary.DEVICE,
            error_low=0.8,
            error_high=5.0,
            source="0.001 kWh/GB between data centres (Cloud Carbon Footprint)",
            uuid=f"{host}:network:{_namespace(pid, proc)}",
            note="all traffic of the network namespace: the kernel does not count it by process",
            model={"joules_per_byte": NETWORK_J_PER_BYTE},
        )
        self._counters = MachineCounters(pid, proc)
        self._begin = self._bytes()

    def read(self) -> Reading:
        """Return joules since opening."""
        now = self._bytes()
        if now is None or self._begin is None:
            return Reading(
                self.device.id, None, self.device.basis, why="the network's counters cannot be read"
            )
        return Reading(
            self.device.id, max(0.0, now - self._begin) * NETWORK_J_PER_BYTE, self.device.basis, raw=now
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _bytes(self) -> float | None:
        moved = self._counters.network_bytes()
        received, sent = moved["received_bytes"], moved["sent_bytes"]
        return None if received is None or sent is None else received + sent


def full_load_of(machine: Machine, full_load_w: float | None = None) -> Figure:
    """Return the watts of all the machine's processors at full load, with what they are known from."""
    if full_load_w is not None:
        return relative(
            full_load_w, 0.1, 0.1, Basis.MODELLED, f"{full_load_w:g} W at full load, by your settings"
        )
    cpus = machine.cpus or 1
    known = find_processor(machine.cpu_model) if machine.cpu_model else None
    tdp_w = threads = None
    if known is not None:
        tdp_w, threads = known.tdp_w, known.threads
    sockets = machine.facts.get("sockets")
    return full_load(
        cpus=cpus,
        tdp_w=tdp_w,
        sockets=int(sockets) if sockets and not machine.virtual else None,
        threads=threads,
        virtual=bool(machine.virtual),
    )


def _disks(proc: str) -> list[str]:
    """Return the whole disks that the kernel counts: no partitions, no loops, nothing that stands on another disk."""
    names: list[str] = []
    for line in read_small(f"{proc}/diskstats").decode(errors="replace").splitlines():
        fields = line.split()
        if len(fields) > 9 and _WHOLE_DISK.match(fields[2]):
            names.append(fields[2])
    return names


def _namespace(pid: int, proc: str) -> str:
    try:
        return os.readlink(f"{proc}/{pid}/ns/net")
    except OSError:
        return ""
