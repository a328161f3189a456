"""From joules to grams and money: the footprint of work at a place.

    wall joules      = component joules x uplift (what the wall saw already is not uplifted again)
    facility joules  = wall joules x PUE
    operational g    = facility kWh x intensity of the zone (by the hour where that is at hand: hourly.py)
    embodied g       = TE x (time / expected life) x share of the machine owned       (SCI, ISO/IEC 21031)
    money            = facility kWh x mean price of the tariff over the run

Money is for facility energy: whoever owns the data centre pays for its cooling, and at a desk PUE is 1, so both
are the wall's. In a cloud this is the electricity's part of a bill that is made up otherwise; a tariff for a
rack metered at the wall asks for `pue` 1 in the settings. An unknown zone gives grams over the world's range
and says so; an unknown tariff gives no cost and says why. Standing by is in no sum.

Everything here is a pure function of its arguments: the same joules, place and time give the same footprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from joulewise.catalogue.embodied import embodied_share, gpus_g, machine_g, vcpus_g
from joulewise.catalogue.hourly import mean_intensity
from joulewise.catalogue.place import Place
from joulewise.catalogue.uplift import at_the_wall, supply_loss
from joulewise.catalogue.zones import world_range
from joulewise.vocabulary.figures import Basis, Boundary, Figure, exact, total
from joulewise.vocabulary.footprint import Footprint, assumed_total
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component, Missing

_WHOLE = 0.999  # of a run's joules: what is left over is the rounding of its last tick


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the work ran on, for its embodied carbon.

    `vcpus` is set for a virtual machine: then the server's part is counted by them. `owned_share` is the share of
    that machine which the work reserved (0 to 1, SCI's RR/ToR); `gpus` are the models of the boards that it held.
    """

    gpus: tuple[str, ...] = ()
    vcpus: float | None = None
    owned_share: float = 1.0


def footprint(
    energy_j: Mapping[Component, Figure],
    place: Place,
    *,
    started_utc: datetime,
    duration_s: float,
    hardware: Hardware | None = None,
    idle_j: Figure | None = None,
    machine_j: Figure | None = None,
    missing: Sequence[Missing] = (),
    series: Sequence[tuple[float, float]] | None = None,
) -> Footprint:
    """Return what the work cost: joules by component, operational and embodied grams, money.

    `energy_j` is the work's own share by component, without standing by; whole-node sensors in it are left out of
    the sum. `series` holds seconds since the start and the work's joules until then, for a tariff by time of day.
    """
    parts: dict[Component, Figure] = {c: f for c, f in energy_j.items() if c is not Component.NODE}
    unknown: dict[str, str] = {}
    factors: dict[str, Figure] = {"uplift": place.uplift, "pue": place.pue}
    embodied_g = _embodied(place, hardware, duration_s, factors, unknown)
    intensity = factors["intensity"] = _intensity(place, started_utc, duration_s, series)
    if place.zone is None and place.hourly is None:
        unknown["zone"] = f"{place.zone_unknown}; grams are over the world's range"
    shown, wall_j = _at_wall(parts, place)
    price = _price(place, started_utc, duration_s, series)
    if price is None:
        unknown["cost"] = place.tariff_unknown
    else:
        factors["price"] = price
    if wall_j is None:
        unknown["joules"] = "no component's energy could be read or modelled"
        facility_j = carbon_g = cost = None
    else:
        factors["joules"] = _devices(parts)
        facility_j = wall_j.times(place.pue)
        facility_kwh = facility_j.scaled(1 / JOULES_PER_KWH)
        carbon_g = facility_kwh.times(intensity)
        cost = facility_kwh.times(price) if price is not None else None
    return Footprint(
        energy_j=shown,
        total_j=wall_j,
        facility_j=facility_j,
        carbon_g=carbon_g,
        embodied_g=embodied_g,
        cost=cost,
        currency=place.tariff.currency if place.tariff else "",
        idle_j=idle_j,
        machine_j=machine_j,
        missing=tuple(missing),
        factors=factors,
        unknown=unknown,
    )


def grams(device_j: Figure, place: Place, started_utc: datetime, duration_s: float) -> Figure:
    """Return the operational grams of joules at the device: of standing by, of a forecast, of a difference."""
    wall_j = device_j.times(_uplift(device_j, place))
    return (
        wall_j.times(place.pue).scaled(1 / JOULES_PER_KWH).times(_intensity(place, started_utc, duration_s))
    )


def _intensity(
    place: Place,
    started_utc: datetime,
    duration_s: float,
    series: Sequence[tuple[float, float]] | None = None,
) -> Figure:
    """Return the intensity by the hour where it is at hand, the yearly mean for the rest (of one kind of factors)."""
    yearly = world_range() if place.zone is None else place.zone.intensity(duration_s, started_utc.year)
    found = (
        mean_intensity(place.hourly, started_utc, duration_s, series) if place.hourly is not None else None
    )
    if found is None or place.hourly is None:
        return yearly
    by_hour, share = found
    if share > _WHOLE:
        return by_hour
    if place.zone is None or place.zone.factors != place.hourly.meaning.factors:
        return yearly  # direct and lifecycle grams do not add up to anything
    mixed = total((by_hour.scaled(share), yearly.scaled(1 - share)))
    return replace(
        mixed, source=f"{by_hour.source} for {share:.0%} of the joules; {yearly.source} for the rest"
    )


def _uplift(figure: Figure, place: Place) -> Figure:
    if figure.boundary is Boundary.DEVICE:
        return place.uplift
    return supply_loss() if figure.boundary is Boundary.NODE else at_the_wall()


def _at_wall(
    parts: Mapping[Component, Figure], place: Place
) -> tuple[dict[Component, Figure], Figure | None]:
    """Return the components with the uplift as `other`, and the joules at the wall (None: no component)."""
    shown: dict[Component, Figure] = {c: f for c, f in parts.items() if c is not Component.OTHER}
    walls, added = [], []
    if any(f.boundary is Boundary.FACILITY for f in parts.values()):
        raise ValueError("joules of the facility are no component: PUE would be applied to them twice")
    for boundary in Boundary:
        inside = [f for f in parts.values() if f.boundary is boundary]
        if inside:
            inner = assumed_total(inside)
            factor = _uplift(inner, place)
            walls.append(inner.times(factor).within(Boundary.WALL))
            if factor.value > 1:
                added.append(inner.times(_above_one(factor)).within(Boundary.WALL))
    if not walls:
        return shown, None
    own = parts.get(Component.OTHER)
    if own is not None:
        added.append(own.within(Boundary.WALL))
    if added:
        shown[Component.OTHER] = total(added)
    return shown, total(walls)


def _above_one(factor: Figure) -> Figure:
    return Figure(
        factor.value - 1,
        max(0.0, factor.low - 1),
        factor.high - 1,
        factor.basis,
        factor.source,
        factor.boundary,
    )


def _devices(parts: Mapping[Component, Figure]) -> Figure:
    """Return the joules that went in, as one figure whose basis is the weakest of its parts."""
    return assumed_total(f.within(Boundary.DEVICE) for f in parts.values())


def _price(
    place: Place, started_utc: datetime, duration_s: float, series: Sequence[tuple[float, float]] | None
) -> Figure | None:
    if place.tariff is None:
        return None
    started_utc = started_utc.astimezone(UTC)
    end_utc = started_utc + timedelta(seconds=duration_s)
    mean = place.tariff.mean_price(started_utc, end_utc, series, place.timezone)
    if series or not place.tariff.bands:
        return exact(mean, f"tariff {place.tariff}")
    # without a series any hour of the run may have had all the joules
    low, high = place.tariff.extremes(started_utc, end_utc, place.timezone)
    return Figure(
        mean, min(low, mean), max(high, mean), Basis.ASSUMED, f"tariff {place.tariff}, joules spread evenly"
    )


def _embodied(
    place: Place,
    hardware: Hardware | None,
    duration_s: float,
    factors: dict[str, Figure],
    unknown: dict[str, str],
) -> Figure | None:
    if hardware is None:
        unknown["embodied"] = "the hardware is not known"
        return None
    host_g = machine_g(place.chassis, place.machine_kg)
    if hardware.vcpus is not None and place.machine_kg is None:
        host_g = vcpus_g(hardware.vcpus)
    boards_g = gpus_g(hardware.gpus)
    factors["embodied"] = host_g if boards_g is None else total((host_g, boards_g))
    owned_g = host_g.scaled(hardware.owned_share)
    reserved_g = owned_g if boards_g is None else total((owned_g, boards_g))
    return embodied_share(reserved_g, duration_s, 1.0, place.life_s)
