"""Energy and power from hardware sensors (hwmon): AMD sockets, AMD and Intel GPUs, Jetson rails, node power meters.

A chip in /sys/class/hwmon has a `name` and channels with labels. Two kinds of channel matter:
  energyN_input                  a counter in microjoules, 64 bits wide: differences, no wrap
  powerN_average, powerN_input   microwatts now (or over the last moments): integrated over time between reads
                                 by the trapezoid rule on the monotonic clock
An ina3221 (Jetson) has neither: millivolts `inN_input` times milliamperes `currN_input` are microwatts.

A power value read once a second misses what happens between: the interval is 10 % where the chip averages and 15 %
where it shows a moment; at a load that pulses faster than the reading it can be worse. A gap (the chip could not be
read) is bridged by the trapezoid between the two good values.

What a channel covers is known by chip and label; a chip that is not known here is shown as the node, never added.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from joulewise.measuring.meters.host import host_key
from joulewise.measuring.meters.port import Found, Meter
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, Missing, Reading

HWMON = Path("/sys/class/hwmon")

_COUNTER_ERROR = 0.05
_AVERAGE_ERROR = 0.10
_MOMENT_ERROR = 0.15
_MOMENT_NOTE = "power of the moment, integrated between reads"


@final
class HwmonEnergyMeter:
    """One `energyN_input`: a counter in microjoules. Opening raises OSError where it cannot be read."""

    def __init__(self, device: Device, counter: Path) -> None:
        self.device = device
        self._file = _NumberFile(counter)
        self._last_uj = self._file.read()
        self._used_uj = 0

    def read(self) -> Reading:
        """Return joules since opening and the raw counter in microjoules; None and why where it cannot be read."""
        try:
            now_uj = self._file.read()
        except OSError as fault:
            return Reading(self.device.id, None, Basis.MEASURED, why=_say(fault))
        why = ""
        if now_uj >= self._last_uj:
            self._used_uj += now_uj - self._last_uj
        else:
            why = f"{self._file.path} went back from {self._last_uj} to {now_uj}; this step is left out"
        self._last_uj = now_uj
        return Reading(self.device.id, self._used_uj / 1e6, Basis.MEASURED, now_uj, why)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


@final
class HwmonPowerMeter:
    """A power in microwatts, integrated over time: one `powerN_*` file, or a rail's millivolts and milliamperes.

    `files` are multiplied with each other. Opening raises OSError where one cannot be read.
    """

    def __init__(
        self, device: Device, files: tuple[Path, ...], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.device = device
        self._monotonic = monotonic
        self._files = tuple(_NumberFile(path) for path in files)
        self._used_j = 0.0
        try:
            self._last_uw = self._power_uw()
        except OSError:
            self.close()
            raise
        self._last_s = monotonic()

    def read(self) -> Reading:
        """Return joules since opening and the power now in microwatts; None and why where it cannot be read."""
        try:
            now_uw = self._power_uw()
        except OSError as fault:
            return Reading(self.device.id, None, Basis.MEASURED, why=_say(fault))
        now_s = self._monotonic()
        # A rail may show a small negative current at rest; energy never goes back.
        self._used_j += max(0.0, (self._last_uw + now_uw) / 2e6 * (now_s - self._last_s))
        self._last_uw, self._last_s = now_uw, now_s
        return Reading(self.device.id, self._used_j, Basis.MEASURED, now_uw)

    def close(self) -> None:
        """Give the files back."""
        for file in self._files:
            file.close()

    def _power_uw(self) -> int:
        power = 1
        for file in self._files:
            power *= file.read()
        return power


@final
class _NumberFile:
    """A file of the kernel that holds one number, kept open, and opened anew when its driver came back."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._fd = -1
        self._closed = False

    def read(self) -> int:
        """Return the number; raises OSError where there is none to be had now."""
        if self._fd >= 0:
            try:
                return int(os.pread(self._fd, 32, 0))
            except (OSError, ValueError):
                self._give_back()
        if self._closed:
            raise OSError(0, "the meter was closed", self.path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.pread(self._fd, 32, 0))
        except ValueError as fault:
            self._give_back()
            raise OSError(0, "holds no number", self.path) from fault
        except OSError as fault:
            self._give_back()
            raise OSError(fault.errno, fault.strerror, self.path) from fault

    def close(self) -> None:
        self._closed = True
        self._give_back()

    def _give_back(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel of a chip: its number and label, and the files that make its figure."""

    chip: str
    folder: Path
    key: str  # energy1, power1, in2
    label: str
    files: tuple[Path, ...]
    error: float
    note: str = ""


def find_hwmon(
    root: Path = HWMON, *, monotonic: Callable[[], float] = time.monotonic, host: str | None = None
) -> Found:
    """Return one meter per sensor that is known, counters before power values; `host` is half of the uuid."""
    if not root.is_dir():
        return Found()
    key = host or host_key()
    meters: list[Meter] = []
    missing: list[Missing] = []
    for folder in sorted(root.iterdir(), key=lambda path: (len(path.name), path.name)):
        for channel in _channels(folder):
            device = _device(channel, key)
            if device is None:
                continue
            try:
                meters.append(
                    HwmonEnergyMeter(device, channel.files[0])
                    if channel.key.startswith("energy")
                    else HwmonPowerMeter(device, channel.files, monotonic)
                )
            except PermissionError as fault:
                path = str(fault.filename or channel.files[0])
                missing.append(
                    Missing(device.id, f"{path} is readable by root only", f"sudo chmod a+r {path}")
                )
            except OSError as fault:
                missing.append(Missing(device.id, _say(fault)))
    return Found(tuple(meters), tuple(missing))


def _channels(folder: Path) -> Iterator[_Channel]:
    chip = _text(folder / "name")
    if not chip:
        return
    names = sorted(os.listdir(folder))
    if chip.startswith("ina3221"):
        yield from _rails(chip, folder, names)
        return
    counters = [name for name in names if name.startswith("energy") and name.endswith("_input")]
    for name in counters:
        number = name.removesuffix("_input")
        yield _Channel(
            chip, folder, number, _text(folder / f"{number}_label"), (folder / name,), _COUNTER_ERROR
        )
    if counters:  # its power values are the same thing, worse
        return
    for number in sorted({name.partition("_")[0] for name in names if name.startswith("power")}):
        average = f"{number}_average" in names
        source = f"{number}_average" if average else f"{number}_input"
        if source in names:
            error, note = (_AVERAGE_ERROR, "") if average else (_MOMENT_ERROR, _MOMENT_NOTE)
            yield _Channel(
                chip, folder, number, _text(folder / f"{number}_label"), (folder / source,), error, note
            )


def _rails(chip: str, folder: Path, names: list[str]) -> Iterator[_Channel]:
    """Yield the three rails of an ina3221; 4 to 7 are shunt voltages and sums of the same."""
    for number in "123":
        label = _text(folder / f"in{number}_label")
        if label in ("", "NC") or f"curr{number}_input" not in names:
            continue
        files = (folder / f"in{number}_input", folder / f"curr{number}_input")
        yield _Channel(chip, folder, f"in{number}", label, files, _MOMENT_ERROR, _MOMENT_NOTE)


def _device(channel: _Channel, host: str) -> Device | None:
    """Return what the channel measures, or None where a better channel of the same chip covers it."""
    chip, label = channel.chip, channel.label
    component, boundary, note = Component.NODE, Boundary.NODE, "not known what it covers: shown, never added"
    name = f"{chip}-{_place(channel.folder)}-{label or channel.key}".replace(" ", "-").lower()
    uuid = f"{host}:{name}"
    if chip in ("amd_energy", "zenergy"):
        if not label.startswith("Esocket"):
            return None  # cores are inside the socket
        component, boundary, note = Component.CPU, Boundary.DEVICE, ""
        uuid = f"{host}:package-{label.removeprefix('Esocket')}"  # the silicon of rapl:package-N
    elif chip == "fam15h_power":
        component, boundary, note = Component.CPU, Boundary.DEVICE, "one socket, AMD family 15h and 16h"
    elif chip in ("amdgpu", "radeon", "nouveau", "i915", "xe"):
        if chip in ("i915", "xe") and label == "pkg" and channel.key != "energy1":
            return None  # the package is inside the card
        component, boundary, note = Component.GPU, Boundary.DEVICE, ""
        uuid = _gpu_uuid(channel.folder) or uuid
    elif chip == "power_meter":
        boundary, note = Boundary.WALL, "ACPI power meter: the whole machine at its supply"
    elif chip.startswith("ina3221"):
        component, boundary, note = _rail(label)
    note = "; ".join(part for part in (note, channel.note) if part)
    source = f"hwmon {chip} {label or channel.key}"
    return Device(
        f"hwmon:{name}", component, "hwmon", Basis.MEASURED, boundary, channel.error, channel.error, source, uuid, note=note
    )  # fmt: skip


def _rail(label: str) -> tuple[Component, Boundary, str]:
    """Return what a Jetson rail feeds. Names of TX2, Xavier, Orin and Nano (NVIDIA's Jetson Linux guide)."""
    name = label.upper()
    if name in ("VDD_IN", "POM_5V_IN", "VIN", "VDD_5V_IN"):
        return Component.NODE, Boundary.NODE, "the module's whole input"
    if "CPU" in name and "GPU" in name:
        return Component.CPU, Boundary.DEVICE, "one rail for CPU, GPU and vision accelerators"
    if "GPU" in name:
        return Component.GPU, Boundary.DEVICE, "with the rest of the chip" if "SOC" in name else ""
    if "CPU" in name:
        return Component.CPU, Boundary.DEVICE, "with the vision accelerators" if "CV" in name else ""
    if "DDR" in name or "VDDRQ" in name or "VDDQ" in name:
        return Component.MEMORY, Boundary.DEVICE, ""
    if any(part in name for part in ("SOC", "CV", "SYS_5V0", "SYS5V")):
        return Component.OTHER, Boundary.DEVICE, ""
    return Component.NODE, Boundary.NODE, "not known what it covers: shown, never added"


def _place(folder: Path) -> str:
    """Return the bus address behind a chip (stable over boots), else its hwmon name (which is not)."""
    link = folder / "device"
    return link.resolve().name if link.exists() else folder.name


def _gpu_uuid(folder: Path) -> str:
    """Return `amdgpu:<unique id>` where the driver tells, otherwise nothing."""
    unique = _text(folder / "device" / "unique_id")
    return f"amdgpu:{unique}" if unique else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _say(fault: OSError) -> str:
    return f"{fault.filename}: {fault.strerror}"
