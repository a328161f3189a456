"""Processor and memory energy from the Linux powercap files (RAPL).

The kernel shows one folder per zone in /sys/class/powercap. `energy_uj` counts microjoules, moves about every
millisecond and starts again from zero after `max_energy_range_uj`: on many servers 262 kJ (11 minutes at 400 W),
on some 66 kJ (under 3 minutes). `PowercapMeter` adds up the steps between reads, so it is exact as long as it is
read once per turn; the recorder reads every meter once a second.

What the zones cover (read by name; the numbers in `intel-rapl:0` mean nothing):
  package-N, package-N-die-M   the processor: cores, caches, memory controller, integrated graphics
  dram                         a child of the package in the tree, but its energy is NOT inside the package: added
  core, uncore                 inside the package: left out
  psys                         the platform, package and memory included: shown as the node, never added
`intel-rapl-mmio:N` is the same package by another road and is left out where `intel-rapl:N` exists. Some multi-die
parts (AMD Zen 1 and 2) show one socket-wide counter once per die: what stands at the same energy is taken once.

`energy_uj` belongs to root alone since Linux 5.10 (CVE-2020-8694: its steps can leak secrets to a neighbour), and
container runtimes hide the folder. Both end in `Missing` with the line to run, never in a zero.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from joulewise.measuring.meters.host import CPUINFO, Processor, host_key, processor
from joulewise.measuring.meters.port import Found
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, Missing, Reading

POWERCAP = Path("/sys/class/powercap")

_DRAM_ERROR = 0.10
_PSYS_ERROR = 0.10

# A step over the end of the counter that would need more than this is no step: the counter was set back. The
# hungriest sockets draw 500 W to 1 kW; a platform with eight GPUs stays below 50 kW.
_IMPOSSIBLE_W = 5_000.0
_IMPOSSIBLE_NODE_W = 50_000.0
_SLACK_S = 0.2  # the counter moves in steps of its own, so two quick reads may see more than their time


@final
class PowercapMeter:
    """One powercap zone, for instance /sys/class/powercap/intel-rapl:0 (the first processor package).

    Opening raises OSError where the zone's files cannot be read. `monotonic` gives seconds; it is only used to
    tell a counter that wrapped from one that was set back.
    """

    def __init__(
        self, zone: Path, device: Device | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.device = device or _device(
            _Zone(zone, _text(zone / "name"), _parent_name(zone)), host_key(), processor()
        )
        self._id = self.device.id
        self._path = str(zone / "energy_uj")
        self._range_uj = int(_text(zone / "max_energy_range_uj"))
        self._limit_w = _IMPOSSIBLE_NODE_W if self.device.component is Component.NODE else _IMPOSSIBLE_W
        self._monotonic = monotonic
        self._used_uj = 0
        self._closed = False
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._last_uj = int(os.pread(self._fd, 32, 0))
        except (OSError, ValueError) as fault:
            os.close(self._fd)
            raise OSError(
                getattr(fault, "errno", None) or 0, f"no number in it ({fault})", self._path
            ) from fault
        self._last_s = monotonic()

    def read(self) -> Reading:
        """Return joules since opening and the raw counter in microjoules; None and why where it cannot be read."""
        try:
            now_uj = int(os.pread(self._fd, 32, 0))
        except (OSError, ValueError):
            return self._read_again()
        return self._step(now_uj)

    def close(self) -> None:
        """Give the file back."""
        self._closed = True
        self._give_back()

    def _step(self, now_uj: int) -> Reading:
        now_s = self._monotonic()
        step_uj = now_uj - self._last_uj
        why = ""
        if step_uj < 0:
            step_uj += self._range_uj
            seconds = now_s - self._last_s + _SLACK_S
            if not 0 <= step_uj <= self._limit_w * seconds * 1e6:
                why = (
                    f"{self._path} went back from {self._last_uj} to {now_uj} without reaching its end at "
                    f"{self._range_uj} (suspend, or the driver was loaded again?); the energy of this step is "
                    "unknown and left out"
                )
                step_uj = 0
        self._used_uj += step_uj
        self._last_uj = now_uj
        self._last_s = now_s
        return Reading(self._id, self._used_uj / 1e6, Basis.MEASURED, now_uj, why)

    def _read_again(self) -> Reading:
        """Open the file anew: a driver that was unloaded and came back has another one."""
        if self._closed:
            return Reading(self._id, None, Basis.MEASURED, why=f"the meter of {self._path} was closed")
        self._give_back()
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            now_uj = int(os.pread(self._fd, 32, 0))
        except OSError as fault:
            return Reading(self._id, None, Basis.MEASURED, why=f"{self._path}: {fault.strerror}")
        except ValueError:
            return Reading(self._id, None, Basis.MEASURED, why=f"{self._path} holds no number")
        return self._step(now_uj)

    def _give_back(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def find_powercap(
    root: Path = POWERCAP,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    host: str | None = None,
    cpuinfo: Path = CPUINFO,
) -> Found:
    """Return one meter per package (or die), memory and platform zone under `root`; each device once.

    `host` is the first half of the devices' uuid (default: `host_key()`).
    """
    if not root.is_dir():
        return Found()
    zones = _one_road(sorted(_zones(root), key=lambda zone: zone.order))
    if not zones:
        return Found(missing=(_nothing(root),))
    key, silicon = host or host_key(), processor(cpuinfo)
    meters: list[PowercapMeter] = []
    denied: list[Path] = []
    missing: list[Missing] = []
    for zone in zones:
        device = _device(zone, key, silicon)
        if any(device.id == meter.device.id for meter in meters):  # two zones of one name with a counter each
            device = replace(
                device, id=f"{device.id}@{zone.folder.name}", uuid=f"{device.uuid}@{zone.folder.name}"
            )
        try:
            meter = PowercapMeter(zone.folder, device, monotonic)
        except PermissionError:
            denied.append(zone.folder)
            continue
        except (OSError, ValueError) as fault:
            missing.append(Missing(device.id, f"{zone.folder}: {fault}"))
            continue
        if any(_mirrored(other, meter) for other in meters):
            meter.close()
            continue
        meters.append(meter)
    if denied:
        missing.insert(0, _denied(root, denied))
    return Found(tuple(meters), tuple(missing))


@dataclass(frozen=True, slots=True)
class _Zone:
    folder: Path
    name: str
    parent: str  # the parent zone's name, empty for a top-level zone

    @property
    def package(self) -> str:
        """The package's own number (and die) as the kernel writes it: `0`, `1-die-0`."""
        return (self.parent if self.name == "dram" else self.name).removeprefix("package-")

    @property
    def label(self) -> str:
        return f"dram-{self.package}" if self.name == "dram" else self.name

    @property
    def order(self) -> tuple[bool, list[int]]:
        """MSR before MMIO, then the order of the kernel's numbers (so that 10 comes after 2)."""
        control, *numbers = self.folder.name.split(":")
        return control != "intel-rapl", [int(n) for n in numbers if n.isdigit()]


def _zones(root: Path) -> Iterator[_Zone]:
    """Yield the zones that are counted or shown; a name that is hidden (a dangling link) yields none."""
    for entry in os.listdir(root):
        if not entry.startswith("intel-rapl") or ":" not in entry:
            continue
        try:
            zone = _Zone(root / entry, _text(root / entry / "name"), _parent_name(root / entry))
        except OSError:
            continue
        if zone.name.startswith(("package", "psys")) or (
            zone.name == "dram" and zone.parent.startswith("package")
        ):
            yield zone


def _one_road(zones: list[_Zone]) -> list[_Zone]:
    """Drop the zones that another control type (MSR before MMIO) already shows under the same name."""
    road: dict[str, str] = {}
    return [z for z in zones if road.setdefault(z.label, _control(z.folder)) == _control(z.folder)]


def _control(zone: Path) -> str:
    return zone.name.partition(":")[0]


def _parent_name(zone: Path) -> str:
    """Return the name of the zone above: `intel-rapl:0` for `intel-rapl:0:1`; that is how powercap numbers."""
    if zone.name.count(":") < 2:
        return ""
    return _text(zone.with_name(zone.name.rpartition(":")[0]) / "name")


def _mirrored(one: PowercapMeter, other: PowercapMeter) -> bool:
    """Whether two zones of one socket stand at the same energy: one counter shown twice.

    Two counters of their own drift apart within the first second after boot, and stand within the half joule that
    one may move between our reads about once in a hundred thousand. Zero says nothing.
    """
    if one.device.component is not other.device.component or _socket(one.device) != _socket(other.device):
        return False
    first, second = one.read().raw, other.read().raw
    return bool(first) and bool(second) and abs((first or 0) - (second or 0)) < 500_000


def _socket(device: Device) -> str:
    """Return `package-0` for rapl:package-0, rapl:package-0-die-1 and a second zone of the same name."""
    return device.id.partition("@")[0].partition("-die-")[0]


def _device(zone: _Zone, host: str, silicon: Processor) -> Device:
    source = f"RAPL, powercap {zone.folder.name}"
    label = zone.label.partition("-die-")[0] if silicon.amd else zone.label  # AMD's counter is the socket's
    uuid = f"{host}:{label}"
    identity = f"rapl:{label}"
    if zone.name.startswith("psys"):
        return Device(
            identity, Component.NODE, "powercap", Basis.MEASURED, Boundary.NODE, _PSYS_ERROR, _PSYS_ERROR, source,
            uuid, note="the platform as its maker wired it, processor and memory included",
        )  # fmt: skip
    if zone.name == "dram":
        return Device(
            identity, Component.MEMORY, "powercap", Basis.MEASURED, Boundary.DEVICE, _DRAM_ERROR, _DRAM_ERROR, source, uuid
        )  # fmt: skip
    error = silicon.counter_error
    return Device(
        identity, Component.CPU, "powercap", Basis.MEASURED, Boundary.DEVICE, error, error, source, uuid,
        note="modelled inside the processor from its activity (AMD before Zen 3)" if error > 0.05 else "",
    )  # fmt: skip


def _denied(root: Path, zones: list[Path]) -> Missing:
    others = f" (and {len(zones) - 1} more)" if len(zones) > 1 else ""
    rule = 'SUBSYSTEM=="powercap", KERNEL=="intel-rapl*:*", RUN+="/bin/chmod a+r $sys$devpath/energy_uj"'
    return Missing(
        "RAPL (powercap)",
        f"{zones[0]}/energy_uj{others} is readable by root only",
        f"until the next boot: sudo chmod a+r {root}/intel-rapl*:*/energy_uj ; for good: "
        f"echo '{rule}' | sudo tee /etc/udev/rules.d/70-joulewise.rules && sudo udevadm control --reload && "
        "sudo udevadm trigger --subsystem-match=powercap",
    )


def _nothing(root: Path) -> Missing:
    hidden = [entry for entry in sorted(os.listdir(root)) if entry.startswith("intel-rapl:")]
    if hidden:
        return Missing(
            "RAPL (powercap)",
            f"{root}/{hidden[0]} is hidden from this container",
            "start the container with --security-opt systempaths=unconfined (Docker, Podman), or record on the host",
        )
    return Missing(
        "RAPL (powercap)",
        f"{root} has no RAPL zone: a virtual machine, a processor without RAPL, or the driver is not loaded",
        "on real hardware: sudo modprobe intel_rapl_msr",
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip()
