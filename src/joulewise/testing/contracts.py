# ruff: noqa: S101 - a contract is a test
"""What a family of leaves promises, as a test class to inherit (pytest).

    class TestMyMeter(MeterContract):
        @pytest.fixture
        def rig(self, tmp_path) -> MeterRig:
            device = MyDouble(tmp_path)
            return MeterRig(MyMeter(device.path), advance=device.use, lose=device.unplug, restore=device.plug)

Each promise is one test; those that a rig cannot stage (a device that cannot be lost) are skipped and say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from joulewise.measuring.meters.port import Meter
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device, Reading


@dataclass(frozen=True, slots=True)
class MeterRig:
    """A meter on a double: how to let its device use joules, and how to lose the device and bring it back.

    `advance(joules)` lets the device use exactly that much. A device that is lost goes on using energy.
    `exact_to` is the relative error that the meter's own arithmetic may have (not the instrument's).
    """

    meter: Meter
    advance: Callable[[float], None] | None = None
    lose: Callable[[], None] | None = None
    restore: Callable[[], None] | None = None
    exact_to: float = 1e-6


class MeterContract:
    """What every meter keeps. Inherit, and give the fixture `rig`."""

    @pytest.fixture
    def rig(self) -> MeterRig:
        """Return the meter under test and what moves it."""
        raise NotImplementedError("give the fixture `rig`: a MeterRig with your meter on its double")

    @pytest.fixture
    def meter(self, rig: MeterRig) -> Meter:
        """Return the meter under test."""
        return rig.meter

    def test_starts_at_zero(self, meter: Meter) -> None:
        """The first reading of a device that used nothing since opening is zero, whatever its counter shows."""
        assert _energy(meter) == pytest.approx(0.0, abs=1e-9)

    def test_counts_what_is_used(self, rig: MeterRig) -> None:
        """What the device used between two readings is what the readings differ by, and it adds up."""
        advance = _needs(rig.advance, "advance")
        start = _energy(rig.meter)
        for joules in (1.0, 0.25, 70.0):
            advance(joules)
            _energy(rig.meter)

        assert _energy(rig.meter) - start == pytest.approx(71.25, rel=rig.exact_to)

    def test_only_grows(self, rig: MeterRig) -> None:
        """No reading is below the one before it, used energy or not."""
        advance = _needs(rig.advance, "advance")
        seen = []
        for joules in (0.0, 3.0, 0.0, 0.001, 12.0):
            advance(joules)
            seen.append(_energy(rig.meter))

        assert seen == sorted(seen)

    def test_reading_twice_adds_nothing(self, meter: Meter) -> None:
        """Two readings at one moment differ by nothing: reading uses no energy and counts none."""
        assert _energy(meter) == pytest.approx(_energy(meter), abs=1e-9)

    def test_a_lost_device_is_unknown_not_zero(self, rig: MeterRig) -> None:
        """A device that cannot be read answers None and says why; it never raises and never answers zero."""
        lose = _needs(rig.lose, "lose")
        _energy(rig.meter)
        lose()
        readings = [rig.meter.read(), rig.meter.read()]

        assert [reading.energy_j for reading in readings] == [None, None]
        assert all(reading.why for reading in readings)
        assert all("\n" not in reading.why for reading in readings)

    def test_a_device_that_comes_back_lost_nothing(self, rig: MeterRig) -> None:
        """What a device used while it could not be read is in the first good reading afterwards."""
        advance, lose, restore = (
            _needs(rig.advance, "advance"),
            _needs(rig.lose, "lose"),
            _needs(rig.restore, "restore"),
        )
        start = _energy(rig.meter)
        advance(5.0)
        _energy(rig.meter)
        lose()
        assert rig.meter.read().energy_j is None
        advance(20.0)
        restore()
        reading = rig.meter.read()

        assert reading.energy_j is not None
        assert reading.energy_j - start == pytest.approx(25.0, rel=rig.exact_to)
        assert reading.why == ""

    def test_closing_twice_is_harmless(self, meter: Meter) -> None:
        """A meter may be closed twice, read or unread."""
        meter.close()
        meter.close()

    def test_closing_a_lost_device_is_harmless(self, rig: MeterRig) -> None:
        """A meter whose device is gone can be closed."""
        _needs(rig.lose, "lose")()
        rig.meter.read()
        rig.meter.close()

    def test_its_device_is_described(self, meter: Meter) -> None:
        """Who reads the record knows what was measured, by what, how well, and which silicon it was."""
        device = meter.device

        assert isinstance(device, Device)
        assert ":" in device.id
        assert device.id == device.id.strip()
        assert device.uuid
        assert device.meter
        assert device.source
        assert isinstance(device.component, Component)
        assert isinstance(device.basis, Basis)
        assert isinstance(device.boundary, Boundary)
        assert 0 < device.error_low <= 1
        assert device.error_high > 0
        assert (device.boundary is Boundary.DEVICE) or not device.counted

    def test_readings_name_their_device(self, meter: Meter) -> None:
        """A reading carries the id and the basis of its device."""
        reading = meter.read()

        assert isinstance(reading, Reading)
        assert (reading.device, reading.basis) == (meter.device.id, meter.device.basis)


def _energy(meter: Meter) -> float:
    reading = meter.read()
    assert reading.energy_j is not None, reading.why
    return reading.energy_j


def _needs(act: Callable[..., None] | None, name: str) -> Callable[..., None]:
    if act is None:
        pytest.skip(f"this rig cannot stage it: MeterRig.{name} is not given")
    return act
