"""From the devices to the wall: what the power supply, fans, board and voltage regulators add.

Counters see the processor package, the memory and the GPU boards; the socket sees more. Two parts:

*Power supply.* 80 PLUS asks, at 20 to 50 % load, for an efficiency of 82-85 % (Bronze, 115 V), 87-90 % (Gold),
90-92 % (Platinum) and 92-94 % (Titanium; 230 V redundant units 94-96 %): a loss of 4 to 22 % on top of the output.
*Board, fans, regulators.* An HGX node with 8 H100 drew 8.4 kW at most in training (Latif et al., IEEE Access 2025)
while its GPUs may draw 8 x 700 W, and, by our estimate, processors and memory 0.5 to 0.8 kW: 1.3 times its devices;
by the data sheets' maxima it is 1.5 (DGX H100, 10.2 kW) to 1.7 (DGX A100, 6.5 kW). Wall power follows the
package counter closely on one machine (within 5.6 %: Khan et al. 2016), so one reading of a plug calibrates it.

The factor multiplies device joules. Much of what boards and fans draw is there without any work and belongs to
standing by, so for the work's own share the factor errs on the high side; the intervals reach down to the
supply's loss alone.
"""

from __future__ import annotations

from enum import StrEnum

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure, relative


class Chassis(StrEnum):
    """What kind of machine the devices sit in."""

    LAPTOP = "laptop"
    DESKTOP = "desktop"
    SERVER = "server"
    UNKNOWN = "unknown"


# value, low, high; what each rests on is said in the module's docstring
_FACTORS = {
    Chassis.LAPTOP: (1.45, 1.15, 2.2, "uplift of a laptop: charger, screen, board"),
    Chassis.DESKTOP: (1.40, 1.12, 1.8, "uplift of a desktop: 80 PLUS supply, fans, board"),
    Chassis.SERVER: (1.35, 1.10, 1.7, "uplift of a server: 80 PLUS supply, fans, board"),
    Chassis.UNKNOWN: (1.40, 1.10, 2.2, "uplift of an unknown machine"),
}
_SUPPLY = (1.09, 1.04, 1.22, "loss of an 80 PLUS power supply")
_CALIBRATION_ERROR = 0.10  # a plug meter's 1-2 % and what a change of load does to the ratio
# SMBIOS 3.6, system enclosure types (DMI chassis_type)
_LAPTOP_TYPES = frozenset({8, 9, 10, 11, 14, 30, 31, 32})
_DESKTOP_TYPES = frozenset({3, 4, 5, 6, 7, 13, 15, 16, 24, 33, 34, 35, 36})
_SERVER_TYPES = frozenset({17, 23, 25, 28, 29})


def uplift(chassis: Chassis, calibration: float | None = None) -> Figure:
    """Return the factor (ratio) from device joules to wall joules.

    `calibration` is wall joules by device joules as the user measured them with a plug or a BMC under load.
    """
    if calibration is not None:
        if calibration < 1:
            raise UsageError(
                f"wall calibration is {calibration:g}, but the wall draws at least what its devices do: give 1 or more"
            )
        source = "uplift calibrated at the wall by the user"
        low = max(1.0, calibration * (1 - _CALIBRATION_ERROR))
        return Figure(
            calibration, low, calibration * (1 + _CALIBRATION_ERROR), Basis.MEASURED, source, Boundary.WALL
        )
    value, low, high, source = _FACTORS[chassis]
    basis = Basis.ASSUMED if chassis is Chassis.UNKNOWN else Basis.MODELLED
    return Figure(value, low, high, basis, source, Boundary.WALL)


def supply_loss() -> Figure:
    """Return the factor (ratio) from a node's own sensor, behind its power supply, to the wall."""
    value, low, high, source = _SUPPLY
    return Figure(value, low, high, Basis.MODELLED, source, Boundary.WALL)


def at_the_wall() -> Figure:
    """Return the factor for joules that were read at the wall already: one, exactly."""
    return relative(1.0, 0.0, 0.0, Basis.MEASURED, "", Boundary.WALL)


def chassis_of(dmi_type: int | None, virtual: bool | None = None) -> Chassis:
    """Return the kind of machine from the firmware's DMI chassis type; a virtual machine sits in a server."""
    if virtual:
        return Chassis.SERVER
    for types, chassis in (
        (_LAPTOP_TYPES, Chassis.LAPTOP),
        (_DESKTOP_TYPES, Chassis.DESKTOP),
        (_SERVER_TYPES, Chassis.SERVER),
    ):
        if dmi_type in types:
            return chassis
    return Chassis.UNKNOWN
