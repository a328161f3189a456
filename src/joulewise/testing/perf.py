"""A double of the kernel's energy events: the PMU folder `power`, and descriptors that answer with counts.

The PMU's descriptors cannot be made without the hardware, so a reader takes the two system calls as arguments:
`PerfEvents.open` stands for perf_event_open and `PerfEvents.read` for read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import final

SCALE_J = 2.0**-32  # joules per count, as today's kernels have it
CONFIGS = {"energy-cores": 1, "energy-pkg": 2, "energy-ram": 3, "energy-psys": 5}
_KIND = 12


@final
class PerfEvents:
    """One PMU `power` below `root/devices` with a processor per package below `root/cpu`.

    Counts start at zero when an event is opened, as the kernel's do; `advance` moves all that are open.
    """

    def __init__(
        self,
        root: Path,
        packages: int = 1,
        dies: int = 1,
        events: tuple[str, ...] = ("energy-pkg", "energy-ram"),
    ) -> None:
        self.devices = root / "devices"
        self.topology = root / "cpu"
        self._refused: dict[str, int] = {}
        self._open: dict[int, tuple[int, int]] = {}  # descriptor: (config, cpu)
        self._lost = False
        self.cpus = [18 * number for number in range(packages * dies)]
        folder = self.devices / "power" / "events"
        folder.mkdir(parents=True)
        (folder.parent / "type").write_text(f"{_KIND}\n")
        (folder.parent / "cpumask").write_text(",".join(map(str, self.cpus)) + "\n")
        for event in events:
            (folder / event).write_text(f"event=0x{CONFIGS[event]:02x}\n")
            (folder / f"{event}.scale").write_text("2.3283064365386962890625e-10\n")
            (folder / f"{event}.unit").write_text("Joules\n")
        for index, cpu in enumerate(self.cpus):
            place = self.topology / f"cpu{cpu}" / "topology"
            place.mkdir(parents=True)
            (place / "physical_package_id").write_text(f"{index // dies}\n")
            (place / "die_id").write_text(f"{index % dies}\n")

    def refuse(self, event: str, code: int) -> None:
        """Let opening `event` fail with the error number `code` (EACCES, ENOENT, ENODEV)."""
        self._refused[event] = code

    def open(self, kind: int, config: int, cpu: int) -> int:
        """Return a descriptor of an event, as perf_event_open does."""
        event = next(name for name, number in CONFIGS.items() if number == config)
        if kind != _KIND or cpu not in self.cpus:
            raise OSError(19, os.strerror(19))
        if event in self._refused:
            raise OSError(self._refused[event], os.strerror(self._refused[event]))
        fd = (
            os.memfd_create(event)
            if hasattr(os, "memfd_create")
            else os.open(self._spare(), os.O_RDWR | os.O_CREAT)
        )
        os.pwrite(fd, bytes(8), 0)
        self._open[fd] = (config, cpu)
        return fd

    def read(self, fd: int, size: int) -> bytes:
        """Return the count behind a descriptor, as read does; nothing while the event is in error."""
        return b"" if self._lost else os.pread(fd, size, 0)

    def advance(self, event: str, joules: float, cpu: int = 0) -> None:
        """Let the open events of one kind on one processor count `joules`."""
        for fd, (config, place) in self._open.items():
            if (config, place) == (CONFIGS[event], cpu):
                count = int.from_bytes(os.pread(fd, 8, 0), sys.byteorder) + round(joules / SCALE_J)
                os.pwrite(fd, count.to_bytes(8, sys.byteorder), 0)

    def lose(self) -> None:
        """Put all events in error: they answer nothing but go on counting."""
        self._lost = True

    def restore(self) -> None:
        """Let all events answer again."""
        self._lost = False

    def _spare(self) -> Path:
        return self.topology / f"event-{len(self._open)}"
