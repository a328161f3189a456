"""Uplift: the way from the devices to the wall, modelled until a plug says better."""

from __future__ import annotations

import pytest

from joulewise.catalogue.uplift import Chassis, at_the_wall, chassis_of, supply_loss, uplift
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary


@pytest.mark.parametrize("chassis", list(Chassis))
def test_every_chassis(chassis):
    """The wall draws more than its devices in every kind of machine, and at least what the supply loses."""
    factor = uplift(chassis)

    assert 1.04 <= factor.low < factor.value < factor.high
    assert factor.boundary is Boundary.WALL
    assert factor.basis is (Basis.ASSUMED if chassis is Chassis.UNKNOWN else Basis.MODELLED)


def test_the_unknown_holds_all():
    """The factor of an unknown machine holds those of every known one."""
    unknown = uplift(Chassis.UNKNOWN)

    assert all(unknown.low <= uplift(c).low and uplift(c).high <= unknown.high for c in Chassis)


def test_published_nodes():
    """The server's interval holds the published nodes: 8.4 kW over 6.2 kW of devices, and the data sheets' maxima."""
    server = uplift(Chassis.SERVER)

    assert server.low < 8.4 / 6.2 < server.high
    assert server.low < 10.2 / 6.6 < server.high


def test_calibration():
    """A wall reading of the user's replaces the default, is measured, and is refused below one."""
    factor = uplift(Chassis.SERVER, 1.2)

    assert (factor.value, factor.basis) == (1.2, Basis.MEASURED)
    assert factor.high - factor.low < uplift(Chassis.SERVER).high - uplift(Chassis.SERVER).low
    assert uplift(Chassis.SERVER, 1.02).low == 1
    with pytest.raises(UsageError, match=r"wall calibration is 0.5"):
        uplift(Chassis.SERVER, 0.5)


def test_what_the_wall_saw_is_not_uplifted():
    """Wall joules keep their value, and a node's own sensor gains the supply's loss only."""
    assert at_the_wall().value == at_the_wall().high == 1
    assert 1 < supply_loss().value < uplift(Chassis.SERVER).value


@pytest.mark.parametrize(
    ("dmi_type", "virtual", "chassis"),
    [
        (10, None, Chassis.LAPTOP),
        (3, False, Chassis.DESKTOP),
        (23, False, Chassis.SERVER),
        (1, None, Chassis.UNKNOWN),
        (None, None, Chassis.UNKNOWN),
        (10, True, Chassis.SERVER),
    ],
)
def test_chassis_of(dmi_type, virtual, chassis):
    """The firmware's chassis type tells the kind of machine; a virtual one sits in a server."""
    assert chassis_of(dmi_type, virtual) is chassis
