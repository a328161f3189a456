"""Meters for tests: one whose joules are set by hand, and one that plays back a recorded series."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

from joulewise.measuring.meters.port import Found
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, GpuUsage, Reading


def device(
    identity: str,
    component: Component = Component.CPU,
    basis: Basis = Basis.MEASURED,
    *,
    error: float = 0.05,
    uuid: str = "",
    model: Mapping[str, object] | None = None,
) -> Device:
    """Return a device as a test needs it."""
    return Device(
        identity,
        component,
        "test",
        basis,
        Boundary.DEVICE,
        error,
        error,
        f"test meter of {component}",
        uuid=uuid,
        model=model or {},
    )


@final
class HandMeter:
    """A meter whose joules the test sets: `meter.energy_j += 10`. `energy_j = None` is a device that is lost."""

    def __init__(self, which: Device) -> None:
        self.device = which
        self.energy_j: float | None = 0.0
        self.closed = False

    def read(self) -> Reading:
        """Return the joules that the test set."""
        why = "" if self.energy_j is not None else "the test took it away"
        return Reading(self.device.id, self.energy_j, self.device.basis, why=why)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


@final
class ClockMeter:
    """A meter of constant power by a monotonic clock: exact at any moment."""

    def __init__(self, which: Device, power_w: float, monotonic: Callable[[], float]) -> None:
        self.device = which
        self._power_w = power_w
        self._monotonic = monotonic
        self._opened_s = monotonic()

    def read(self) -> Reading:
        """Return watts times the seconds since opening."""
        return Reading(
            self.device.id, self._power_w * (self._monotonic() - self._opened_s), self.device.basis
        )

    def close(self) -> None:
        """Nothing to give back."""


@final
class ReplayMeter:
    """A meter that answers a recorded series, one value a read; the last value stays."""

    def __init__(
        self, which: Device, energies_j: Sequence[float | None], usages: Sequence[GpuUsage] = ()
    ) -> None:
        self.device = which
        self._energies_j = list(energies_j)
        self._usages = list(usages)
        self._at = -1

    def read(self) -> Reading:
        """Return the next recorded value."""
        self._at = min(self._at + 1, len(self._energies_j) - 1)
        return Reading(self.device.id, self._energies_j[self._at], self.device.basis, why="recorded as lost")

    def usage(self) -> GpuUsage:
        """Return how the device was used at the last read."""
        return (
            self._usages[min(max(self._at, 0), len(self._usages) - 1)]
            if self._usages
            else GpuUsage(None, None, None)
        )

    def work_share(self, own_ids: Collection[int]) -> float | None:
        """Return the share of the processes that hold the device, in equal parts."""
        holders = self.usage().process_ids
        if holders is None:
            return None
        return sum(pid in own_ids for pid in holders) / len(holders) if holders else 0.0

    def close(self) -> None:
        """Nothing to give back."""


def found(*meters: HandMeter | ClockMeter | ReplayMeter) -> Found:
    """Return a family's answer that holds these meters."""
    return Found(tuple(meters))
