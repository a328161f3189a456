"""Which machine this is and what its processor is: what the processor's meters share.

The boot id is the same in every container of a host and differs between hosts, so `<boot id>:package-0` names one
piece of silicon for all recorders that see it. It changes at a reboot, when no recording can go on anyway.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
CPUINFO = Path("/proc/cpuinfo")

_ZEN_3 = 25  # AMD family 19h; before it RAPL is modelled from activity (Schöne et al., arXiv 2108.00808)


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor's vendor string and family number; empty and 0 where the kernel does not tell."""

    vendor: str = ""
    family: int = 0

    @property
    def counter_error(self) -> float:
        """The relative 90 % error of its package energy counter: 10 % on AMD before Zen 3, otherwise 5 %."""
        return 0.10 if self.amd and self.family < _ZEN_3 else 0.05

    @property
    def amd(self) -> bool:
        """Whether it is made by AMD (or by Hygon under its licence)."""
        return self.vendor in ("AuthenticAMD", "HygonGenuine")


def host_key(boot_id: Path = BOOT_ID, machine_id: Path = MACHINE_ID) -> str:
    """Return what names this host in every container on it: the boot id, else machine id, else host name."""
    for path in (boot_id, machine_id):
        try:
            key = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if key:
            return key
    return os.uname().nodename


def processor(cpuinfo: Path = CPUINFO) -> Processor:
    """Return vendor and family of the first processor listed (one block only: the file is long and slow)."""
    try:
        with cpuinfo.open("rb", buffering=0) as file:
            block = file.read(1024).decode("ascii", "replace")
    except OSError:
        return Processor()
    fields = dict(_pair(line) for line in block.splitlines() if ":" in line)
    family = fields.get("cpu family", "")
    return Processor(fields.get("vendor_id", ""), int(family) if family.isdigit() else 0)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
