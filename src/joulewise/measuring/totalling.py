"""Team totals: sums of the ledger's months, priced at their places. Pure.

Joules are summed in the database; here they go to the wall and to the facility, and become grams and money, a month and
a place at a time. Where a zone's hours were kept, each recording's joules are laid into the hours of its month (spread
evenly over its time) and weighed by them; elsewhere the yearly mean counts. Grams of one meaning are added and no
others: average intensity with lifecycle factors, average with direct factors, and marginal intensity (what a change
would have caused, which is no account) stand apart, and each says of how many joules it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from joulewise.catalogue.hourly import joules_until, mean_intensity
from joulewise.catalogue.place import Place
from joulewise.catalogue.pricing import footprint
from joulewise.ledger.months import Stretch, Sum
from joulewise.vocabulary.figures import Basis, Boundary, Figure, shared_total
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component
from joulewise.vocabulary.signal import Kind, Signal

_HOUR_S = 3600.0
_WHOLE = 0.999
Place_of = Callable[[str, str], Place]
Hours_of = Callable[[str], Signal | None]


@dataclass(frozen=True, slots=True)
class Grams:
    """Grams of one meaning, and the share of the joules that they account for (1: all whose joules are known)."""

    figure: Figure
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Total:
    """What recordings of one key used in one month. None is unknown; `unknown` recordings are in no figure."""

    key: str
    month: str
    runs: int
    unknown: int
    duration_s: float
    energy_j: Figure | None = None  # at the devices; recordings that saw another boundary as if at the device
    facility_j: Figure | None = None
    grams: Mapping[str, Grams] = field(default_factory=dict)  # by meaning: "average, lifecycle"
    cost: Figure | None = None
    currency: str = ""
    no_zone: int = 0  # recordings whose grams are over the world's range


def totals(
    sums: Iterable[Sum], stretches: Iterable[Stretch], place_of: Place_of, hours_of: Hours_of
) -> list[Total]:
    """Return one total a key and month, in the order of the sums; `hours_of` gives a zone's kept hours (None: none)."""
    bins = _by_hour(stretches)
    made: dict[tuple[str, str], list[Total]] = {}
    for part in sums:
        series = bins.get((part.key, part.month, part.zone))
        total = _priced(part, series, place_of(part.zone, part.site), hours_of(part.zone))
        made.setdefault((part.month, part.key), []).append(total)
    return [together(parts, key, month) for (month, key), parts in made.items()]


def unpriced(sums: Iterable[Sum]) -> list[Total]:
    """Return the sums as totals of joules alone, without a way to the wall, grams or money: for pictures."""
    made: dict[tuple[str, str], list[Total]] = {}
    for part in sums:
        energy_j = None if part.energy_j is None else part.energy_j.within(Boundary.DEVICE)
        total = Total(part.key, part.month, part.runs, part.unknown, part.duration_s, energy_j)
        made.setdefault((part.month, part.key), []).append(total)
    return [together(parts, key, month) for (month, key), parts in made.items()]


def together(parts: Sequence[Total], key: str, month: str = "") -> Total:
    """Return several totals as one. Errors add linearly: they rest on the same meters, zones and factors."""
    meanings = {m: None for p in parts for m in p.grams}
    whole_j = sum(p.energy_j.value for p in parts if p.energy_j is not None)
    currencies = {p.currency for p in parts if p.currency}
    priced = [p.cost for p in parts if p.energy_j is not None]
    return Total(
        key,
        month,
        sum(p.runs for p in parts),
        sum(p.unknown for p in parts),
        sum(p.duration_s for p in parts),
        _sum(p.energy_j for p in parts),
        _sum(p.facility_j for p in parts),
        {m: _grams([(p, p.grams[m]) for p in parts if m in p.grams], whole_j) for m in meanings},
        None if None in priced or len(currencies) > 1 else _sum(priced),
        currencies.pop() if len(currencies) == 1 else "",
        sum(p.no_zone for p in parts),
    )


def rolled(parts: Iterable[Total], key: Callable[[Total], str]) -> list[Total]:
    """Return totals put together by `key`, in the order in which keys appear."""
    groups: dict[str, list[Total]] = {}
    for part in parts:
        groups.setdefault(key(part), []).append(part)
    return [together(group, name) for name, group in groups.items()]


def caveats(whole: Total) -> list[str]:
    """Return what whoever reads a sum should know: what is in it only in part, or not at all; one clause each."""
    said = []
    if whole.unknown:
        said.append(
            f"{whole.unknown:,} of {whole.runs:,} recordings do not know their joules and are in no sum"
        )
    if whole.no_zone:
        said.append(f"{whole.no_zone:,} recordings tell no zone: their grams are over the world's range")
    if len(whole.grams) > 1:
        said.append("grams of unlike meaning are not added up")
    said += [
        f"grams ({meaning}) are of {grams.share:.0%} of the joules"
        for meaning, grams in whole.grams.items()
        if grams.share < 0.995
    ]
    return said


def month_span(month: str) -> tuple[datetime, datetime]:
    """Return the start of a month ("2026-11") and of the next, in UTC."""
    year, number = int(month[:4]), int(month[5:])
    start = datetime(year, number, 1, tzinfo=UTC)
    return start, start.replace(year=year + number // 12, month=number % 12 + 1)


def _priced(part: Sum, series: list[tuple[float, float]] | None, place: Place, hours: Signal | None) -> Total:
    plain = Total(part.key, part.month, part.runs, part.unknown, part.duration_s)
    if part.energy_j is None:
        return plain
    start, end = month_span(part.month)
    length_s = (end - start).total_seconds()
    average = hours if hours is not None and hours.meaning.kind is Kind.AVERAGE and series else None
    here = replace(place, hourly=average)
    # One figure, not split by component: the sum does not know which it was, and the price is the same for all. A yearly
    # mean is as uncertain as it is for one recording of the mean length: that they even out is not counted on.
    told = footprint(
        {Component.CPU: part.energy_j},
        here,
        started_utc=start,
        duration_s=length_s if series else max(1.0, part.duration_s / part.runs),
        series=series,
    )
    grams: dict[str, Grams] = {}
    if told.carbon_g is not None:
        grams[f"average, {_factors(here, start, length_s, series)}"] = Grams(told.carbon_g)
    if hours is not None and hours.meaning.kind is Kind.MARGINAL and series and told.facility_j is not None:
        found = _marginal(hours, start, series)
        if found is not None:
            intensity, share = found
            grams[f"marginal, {hours.meaning.factors}"] = Grams(
                told.facility_j.scaled(share / JOULES_PER_KWH).times(intensity), share
            )
    return replace(
        plain,
        energy_j=part.energy_j.within(Boundary.DEVICE),
        facility_j=told.facility_j,
        grams=grams,
        cost=told.cost,
        currency=told.currency if told.cost is not None else "",
        no_zone=part.runs - part.unknown if place.zone is None and average is None else 0,
    )


def _factors(place: Place, start: datetime, length_s: float, series: list[tuple[float, float]] | None) -> str:
    """Return which factors the grams of a sum have: those of the hours where these know all of it, else the zone's."""
    yearly = place.zone.factors if place.zone is not None else "lifecycle"
    if place.hourly is None:
        return yearly
    found = mean_intensity(place.hourly, start, length_s, series)
    return str(place.hourly.meaning.factors) if found is not None and found[1] > _WHOLE else yearly


def _marginal(
    signal: Signal, start: datetime, series: list[tuple[float, float]]
) -> tuple[Figure, float] | None:
    """Return the mean marginal intensity weighed by joules, and the share of them in hours that are known."""
    times = [t for t, _ in series]
    known = grams = 0.0
    for begin, point in zip(signal.times(), signal.points, strict=True):
        first_s = (begin - start).total_seconds()
        if point.value is None or first_s >= series[-1][0] or first_s + signal.step_s <= 0:
            continue
        used = joules_until(series, times, first_s + signal.step_s) - joules_until(series, times, first_s)
        known += used
        grams += used * point.value
    if known <= 0:
        return None
    value = grams / known
    source = f"{signal.source or 'marginal intensity'} ({signal.meaning.factors}, by the hour)"
    return Figure(value, value, value, Basis.MODELLED, source), min(1.0, known / series[-1][1])


def _by_hour(stretches: Iterable[Stretch]) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
    """Return, by key, month and zone, seconds since the month began and the joules used until then."""
    bins: dict[tuple[str, str, str], dict[int, float]] = {}
    spans: dict[str, tuple[float, float]] = {}
    for one in stretches:
        if one.month not in spans:
            start, end = month_span(one.month)
            spans[one.month] = (start.timestamp(), (end - start).total_seconds())
        month_s, length_s = spans[one.month]
        begun_s = one.started_utc.timestamp() - month_s
        first_s = min(max(0.0, begun_s), length_s - 1.0)
        last_s = min(max(first_s + 1.0, begun_s + one.duration_s), length_s)
        held = bins.setdefault((one.key, one.month, one.zone), {})
        at_s, joules_per_s = first_s, one.energy_j / (last_s - first_s)
        while at_s < last_s:
            hour = int(at_s // _HOUR_S)
            until_s = min(last_s, (hour + 1) * _HOUR_S)
            held[hour] = held.get(hour, 0.0) + joules_per_s * (until_s - at_s)
            at_s = until_s
    series = {}
    for which, held in bins.items():
        points, sum_j = [(0.0, 0.0)], 0.0
        for hour in range(int(spans[which[1]][1] // _HOUR_S)):
            sum_j += held.get(hour, 0.0)
            points.append(((hour + 1) * _HOUR_S, sum_j))
        series[which] = points
    return series


def _sum(figures: Iterable[Figure | None]) -> Figure | None:
    known = [f for f in figures if f is not None]
    return shared_total(known) if known else None


def _grams(parts: Sequence[tuple[Total, Grams]], whole_j: float) -> Grams:
    counted_j = sum(
        total.energy_j.value * grams.share for total, grams in parts if total.energy_j is not None
    )
    return Grams(shared_total(g.figure for _, g in parts), counted_j / whole_j if whole_j > 0 else 1.0)


__all__ = ["Grams", "Total", "month_span", "rolled", "together", "totals", "unpriced"]
