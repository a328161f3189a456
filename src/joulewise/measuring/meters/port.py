"""The port that every meter implements, and what a family of meters answers when it looks for devices.

A meter is one device's energy in joules since it was opened; the figure only grows. Whether the device has a
counter that wraps, a power value that must be integrated, or only a utilisation to be modelled is the meter's own
business: no caller asks. A read that fails answers a `Reading` with `energy_j=None` and says why; the next good
read goes on from where the counter stands, so nothing between two good reads is lost.

A family is a function `find(...) -> Found`: the meters that it could open, and what it could not, with a remedy.
Families are listed best first in `measuring.meters`; other packages join by the entry point `joulewise.meters`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from joulewise.vocabulary.recording import Device, GpuUsage, Missing, Reading


class Meter(Protocol):
    """One device's energy, as a figure in joules that only grows."""

    @property
    def device(self) -> Device:
        """What is measured, how well and with which boundary."""

    def read(self) -> Reading:
        """Return joules since opening; never raises for a fault of the device."""

    def close(self) -> None:
        """Give back files and handles; reading afterwards is an error."""


@runtime_checkable
class UsedMeter(Meter, Protocol):
    """A meter that can also tell how its device is used (GPUs)."""

    def usage(self) -> GpuUsage:
        """Return utilisation, memory and the processes that hold the device."""

    def work_share(self, own_ids: Collection[int]) -> float | None:
        """Return the share (0 to 1) of the device's use since the last call by these processes; None: not told."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one family of meters found: meters ready to read, and sources that exist but cannot be read."""

    meters: tuple[Meter, ...] = ()
    missing: tuple[Missing, ...] = ()
