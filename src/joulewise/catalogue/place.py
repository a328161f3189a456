"""A place: everything about where work ran that turns its joules into grams and money.

Zone, kind of place (hence PUE), chassis (hence uplift to the wall) and tariff. `place()` assembles one from the
plain values that settings hold; an unknown part stays unknown and says why, and never becomes a guess in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import TypeVar

from joulewise.catalogue.cloud import CloudAnswer
from joulewise.catalogue.embodied import expected_life
from joulewise.catalogue.pue import PlaceKind, pue
from joulewise.catalogue.tariffs import Tariff
from joulewise.catalogue.uplift import Chassis, uplift
from joulewise.catalogue.zones import Zone, find_zone
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.signal import Signal

_Choice = TypeVar("_Choice", Chassis, PlaceKind)
_NO_ZONE = "no zone is set: give --zone DE, or set one in the settings"
_NO_TARIFF = 'no tariff is set: give for instance tariff = "0.30EUR/kWh" in the settings'


@dataclass(frozen=True, slots=True)
class Place:
    """Where work ran. `zone_unknown` and `tariff_unknown` say why where zone or tariff is None."""

    zone: Zone | None
    kind: PlaceKind
    chassis: Chassis
    pue: Figure
    uplift: Figure
    tariff: Tariff | None
    life_s: Figure
    machine_kg: float | None = None  # embodied carbon of the machine as the user knows it
    timezone: tzinfo | None = None  # of the tariff's wall clock; None: this machine's
    region: str = ""  # provider and region, where a cloud's metadata service told them
    zone_unknown: str = ""
    tariff_unknown: str = ""
    hourly: Signal | None = None  # intensity of the hours in question, where it is at hand (grid room)


def place(
    zone: str | None = None,
    *,
    kind: str | None = None,
    chassis: Chassis | str = Chassis.UNKNOWN,
    tariff: str | None = None,
    pue_value: float | None = None,
    wall_calibration: float | None = None,
    life_years: float | None = None,
    machine_kg: float | None = None,
    timezone: str | None = None,
    cloud: CloudAnswer | None = None,
) -> Place:
    """Return the place that these settings describe.

    `zone` is a zone's name or code, `unknown`, or `auto`: then `cloud`, the answer of the metadata service, decides
    zone and kind. `kind` is one of desk, on-premises, aws, gcp, azure; without it the chassis decides (a laptop or
    desktop stands at a desk, a server in a data centre). `wall_calibration` is wall joules by device joules.
    """
    case = _choice("chassis", chassis, Chassis)
    told = cloud if zone == "auto" and cloud is not None else CloudAnswer()
    here, why = _zone(zone, told)
    if kind is not None:
        where = _choice("kind of place", kind, PlaceKind)
    elif told.provider:
        where = PlaceKind(told.provider)
    else:
        where = _KIND_OF_CHASSIS[case]
    if told.provider and case is Chassis.UNKNOWN:
        case = Chassis.SERVER
    return Place(
        zone=here,
        kind=where,
        chassis=case,
        pue=pue(where, pue_value),
        uplift=uplift(case, wall_calibration),
        tariff=Tariff.parse(tariff) if tariff else None,
        life_s=expected_life(life_years),
        machine_kg=machine_kg,
        timezone=_timezone(timezone),
        region=f"{told.provider} {told.region}".strip(),
        zone_unknown=why,
        tariff_unknown="" if tariff else _NO_TARIFF,
    )


_KIND_OF_CHASSIS = {
    Chassis.LAPTOP: PlaceKind.DESK,
    Chassis.DESKTOP: PlaceKind.DESK,
    Chassis.SERVER: PlaceKind.ON_PREMISES,
    Chassis.UNKNOWN: PlaceKind.UNKNOWN,
}


def _zone(text: str | None, told: CloudAnswer) -> tuple[Zone | None, str]:
    if text is None or text.strip().casefold() in ("", "unknown"):
        return None, _NO_ZONE
    if text == "auto":
        if told.zone:
            return find_zone(told.zone), ""
        return None, told.why or "zone is auto, and no cloud was asked"
    return find_zone(text), ""


def _choice(what: str, text: str, kinds: type[_Choice]) -> _Choice:
    try:
        return kinds(text)
    except ValueError:
        raise UnknownName(what, text, list(kinds), f"known are {', '.join(kinds)}.") from None


def _timezone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(f"unknown time zone {name!r}; write for instance Europe/Berlin") from error
