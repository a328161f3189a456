"""What electricity costs: a flat price or one by time of day, in the one currency that the user configured.

    0.30EUR/kWh
    0.32EUR 22:00-06:00=0.21EUR
    0.34EUR/kWh, 00:00-06:00=0.19EUR, 17:00-20:00=0.41EUR

The first price holds whenever no band does; bands are local wall-clock times, may pass midnight and must not
overlap. No price is shipped and no currency is converted: without a tariff the cost is unknown.

A mean price weighs each stretch of one price by the joules used in it, so a run that crosses a change of price pays both;
without a series the joules count as spread evenly over the run. Clock changes are followed: the repeated hour
in autumn is charged twice at its wall-clock price.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from joulewise.catalogue.hourly import joules_until
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import JOULES_PER_KWH

_PRICE = re.compile(r"^([0-9]*\.?[0-9]+)\s*([A-Za-z]{3}|[€$£])(?:/kWh)?$")
_BAND = re.compile(r"^(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})=(.+)$")
_SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP"}
_DAY_MINUTES = 24 * 60
_STEP_MINUTES = 15  # every zone's offset from UTC is a multiple of a quarter of an hour
_EXAMPLE = "write for instance 0.30EUR/kWh or '0.32EUR 22:00-06:00=0.21EUR'"


@dataclass(frozen=True, slots=True)
class Band:
    """A time of day with a price of its own: minutes after local midnight; the end may lie before the start."""

    start_minute: int
    end_minute: int
    price_per_kwh: float

    def holds(self, minute: int) -> bool:
        """Return whether the band holds at this minute of the day."""
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute

    @property
    def minutes(self) -> frozenset[int]:
        """The minutes of the day that the band covers."""
        return frozenset(m for m in range(_DAY_MINUTES) if self.holds(m))


@dataclass(frozen=True, slots=True)
class Tariff:
    """A price per kWh by time of day, in `currency` (three letters)."""

    price_per_kwh: float
    currency: str
    bands: tuple[Band, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Tariff:
        """Return the tariff that `text` describes (see the module); refuse what is not one."""
        first, *rest = re.split(r"[\s,]+", re.sub(r"\s+(?=[A-Za-z€$£])", "", text.strip())) or [""]
        price, currency = _price(first, text)
        bands = []
        for part in filter(None, rest):
            match = _BAND.match(part)
            if not match:
                raise UsageError(
                    f"cannot read {part!r} in the tariff {text!r} as a time of day and its price; {_EXAMPLE}"
                )
            band_price, band_currency = _price(match[5], text)
            if band_currency != currency:
                raise UsageError(
                    f"tariff {text!r} names {currency} and {band_currency}; write all prices in one currency"
                )
            bands.append(
                Band(_minute(match[1], match[2], text), _minute(match[3], match[4], text), band_price)
            )
        seen: set[int] = set()
        for band in bands:
            if seen & band.minutes:
                raise UsageError(
                    f"tariff {text!r} gives one time of day two prices; let its bands not overlap"
                )
            seen |= band.minutes
        return cls(price, currency, tuple(bands))

    def __str__(self) -> str:
        first = f"{self.price_per_kwh:g}{self.currency}/kWh"
        bands = (
            f"{_clock(b.start_minute)}-{_clock(b.end_minute)}={b.price_per_kwh:g}{self.currency}"
            for b in self.bands
        )
        return " ".join((first, *bands))

    def price_at(self, when: datetime, zone: tzinfo | None = None) -> float:
        """Return the price per kWh at an aware time, by the wall clock of `zone` (None: this machine's)."""
        local = when.astimezone(zone)
        minute = local.hour * 60 + local.minute
        return next((b.price_per_kwh for b in self.bands if b.holds(minute)), self.price_per_kwh)

    def extremes(
        self, start_utc: datetime, end_utc: datetime, zone: tzinfo | None = None
    ) -> tuple[float, float]:
        """Return the lowest and the highest price per kWh at any time of a run."""
        prices = {self.price_at(start_utc, zone)}
        prices |= {self.price_at(begin, zone) for begin, _ in self._stretches(start_utc, end_utc)}
        return min(prices), max(prices)

    def mean_price(
        self,
        start_utc: datetime,
        end_utc: datetime,
        series: Sequence[tuple[float, float]] | None = None,
        zone: tzinfo | None = None,
    ) -> float:
        """Return the price per kWh over a run, weighted by the joules used at each time.

        `series` holds seconds since the start and joules used until then (cumulative, growing); without it, or
        when it holds no joules, the joules count as spread evenly.
        """
        # differences of two times of one zone would be the wall clock's, which jumps
        start_utc, end_utc = start_utc.astimezone(UTC), end_utc.astimezone(UTC)
        if not self.bands or end_utc <= start_utc:
            return self.price_at(start_utc, zone)
        duration_s = (end_utc - start_utc).total_seconds()
        spread = [(0.0, 0.0), (duration_s, duration_s)]
        points = list(series) if series and series[-1][1] > series[0][1] else spread
        times = [t for t, _ in points]
        paid = 0.0
        for begin, end in self._stretches(start_utc, end_utc):
            begin_s, end_s = ((t - start_utc).total_seconds() for t in (begin, end))
            used_j = joules_until(points, times, end_s) - joules_until(points, times, begin_s)
            paid += used_j * self.price_at(begin, zone)
        whole_j = joules_until(points, times, duration_s) - joules_until(points, times, 0.0)
        return paid / whole_j if whole_j > 0 else self.price_at(start_utc, zone)

    def cost(
        self,
        energy_j: float,
        start_utc: datetime,
        end_utc: datetime,
        series: Sequence[tuple[float, float]] | None = None,
        zone: tzinfo | None = None,
    ) -> float:
        """Return what `energy_j` joules used between two aware times cost, in the tariff's currency."""
        return energy_j / JOULES_PER_KWH * self.mean_price(start_utc, end_utc, series, zone)

    def _stretches(self, start_utc: datetime, end_utc: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield stretches in UTC within which the price does not change."""
        offsets = {0} | {m % _STEP_MINUTES for b in self.bands for m in (b.start_minute, b.end_minute)}
        stops = sorted(timedelta(minutes=m + turn) for m in offsets for turn in (0, _STEP_MINUTES))
        begin = start_utc.astimezone(UTC)
        end_utc = end_utc.astimezone(UTC)
        while begin < end_utc:
            quarter = begin.replace(
                minute=begin.minute // _STEP_MINUTES * _STEP_MINUTES, second=0, microsecond=0
            )
            end = min(next(quarter + s for s in stops if quarter + s > begin), end_utc)
            yield begin, end
            begin = end


def _price(text: str, whole: str) -> tuple[float, str]:
    match = _PRICE.match(text)
    if not match:
        raise UsageError(f"cannot read {text!r} in the tariff {whole!r} as a price; {_EXAMPLE}")
    return float(match[1]), _SYMBOLS.get(match[2], match[2].upper())


def _minute(hours: str, minutes: str, whole: str) -> int:
    minute = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or minute > _DAY_MINUTES:
        raise UsageError(f"{hours}:{minutes} in the tariff {whole!r} is no time of day; {_EXAMPLE}")
    return minute


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
