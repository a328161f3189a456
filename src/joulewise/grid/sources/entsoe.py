"""Europe by fuel: the ENTSO-E Transparency Platform. Needs a token (free, by e-mail); CC BY 4.0.

Generation per type (document A75) becomes intensity by the factors of grid/mix.py, in hours: production, not consumption.
Day-ahead prices are document A44. What the format does to us: a time series with `outBiddingZone` is consumption of a
storage plant; curve type A03 leaves out points that repeat the one before; "no matching data" is an
acknowledgement with reason 999, which is no fault; quarter, half and full hours come mixed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import final
from xml.etree import ElementTree as ET

from joulewise.grid.fetching import Fetcher, Request
from joulewise.grid.sources.port import chunks, ended, from_mix, moment, number, series, usual_step_s
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Factors, Meaning, Scope, Signal, SignalPoint

BASE = "https://web-api.tp.entsoe.eu/api"
_DAYS = 30  # a year is allowed; a month of quarter hours of twenty fuels is some megabytes
_AREAS = {
    "AT": "10YAT-APG------L", "BE": "10YBE----------2", "BG": "10YCA-BULGARIA-R", "CH": "10YCH-SWISSGRIDZ",
    "CZ": "10YCZ-CEPS-----N", "DE": "10Y1001A1001A82H", "EE": "10Y1001A1001A39I", "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U", "FR": "10YFR-RTE------C", "GR": "10YGR-HTSO-----Y", "HR": "10YHR-HEP------M",
    "HU": "10YHU-MAVIR----U", "LT": "10YLT-1001A0008Q", "LV": "10YLV-1001A00074", "NL": "10YNL----------L",
    "PL": "10YPL-AREA-----S", "PT": "10YPT-REN------W", "RO": "10YRO-TEL------P", "RS": "10YCS-SERBIATSOV",
    "SI": "10YSI-ELES-----O", "SK": "10YSK-SEPS-----K",
}  # fmt: skip
_FUELS = {
    "B01": "biomass", "B02": "lignite", "B03": "coal", "B04": "gas", "B05": "coal", "B06": "oil", "B07": "oil shale",
    "B08": "peat", "B09": "geothermal", "B10": "pumped", "B11": "hydro", "B12": "hydro", "B13": "marine",
    "B14": "nuclear", "B15": "biomass", "B16": "solar", "B17": "waste", "B18": "wind", "B19": "wind", "B20": "other",
    "B25": "storage",
}  # fmt: skip
_RESOLUTION = re.compile(r"^PT(\d+)M$|^PT(\d+)H$")
_NO_DATA = "999"


@final
class Entsoe:
    """Intensity computed from the fuel mix, and day-ahead prices, of European countries."""

    name = "ENTSO-E"
    step_s = 3600

    def __init__(
        self, fetcher: Fetcher, key: str, base: str = BASE, factors: Factors = Factors.LIFECYCLE
    ) -> None:
        self._fetcher, self._key, self._base = fetcher, key, base
        self._factors = factors

    def covers(self, zone: str) -> bool:
        """Return whether the country's area is known here."""
        return zone in _AREAS

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return hourly intensity computed from the realised generation per type."""
        powers: dict[datetime, dict[str, dict[str, list[float]]]] = {}
        for document in self._documents(
            zone,
            start,
            ended(end, self._fetcher.now_utc(), self.step_s),
            {"documentType": "A75", "processType": "A16", "in_Domain": _AREAS[zone]},
        ):
            for number_, told in enumerate(_all(document, "TimeSeries")):
                if _text(told, "outBiddingZone_Domain.mRID"):
                    continue  # a storage plant that draws power
                fuel = _FUELS.get(_text(told, "psrType"), "other")
                for when, power_w, _ in self._points(told, "quantity"):
                    hour = when.replace(minute=0)
                    # of one type told twice for a time the later series of the document counts, not their sum
                    kinds = powers.setdefault(hour, {}).setdefault(fuel, {})
                    kinds.setdefault(f"{_text(told, 'psrType')}/{number_}", []).append(power_w)
        mixes = {
            hour: {f: _sum_of_types(kinds) for f, kinds in fuels.items()}
            for hour, fuels in powers.items()
            if start - timedelta(hours=1) < hour < end
        }
        meaning = Meaning(factors=self._factors, scope=Scope.PRODUCTION)
        return series(zone, meaning, self.step_s, from_mix(mixes, self._factors), self.name, lag_s=3600)

    def ahead(self, zone: str) -> Signal | None:  # noqa: ARG002 - the port's
        """Return None: the platform forecasts wind, sun and load, but no whole mix."""
        return None

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return day-ahead prices per kWh in the currency that the platform tells."""
        points: dict[datetime, SignalPoint] = {}
        currency = "EUR"
        asked = {"documentType": "A44", "in_Domain": _AREAS[zone], "out_Domain": _AREAS[zone]}
        for document in self._documents(zone, start, end, asked):
            for told in _all(document, "TimeSeries"):
                currency = _text(told, "currency_Unit.name") or currency
                for when, amount, _ in self._points(told, "price.amount"):
                    if start - timedelta(hours=1) < when < end:
                        points[when] = SignalPoint(amount / 1000)
        return series(zone, Meaning.price(currency), usual_step_s(points, 3600), points, self.name)

    def _documents(
        self, zone: str, start: datetime, end: datetime, asked: dict[str, str]
    ) -> Iterator[ET.Element]:
        for begin, stop in chunks(start, end, _DAYS):
            # the platform takes whole hours only
            span = {
                "periodStart": f"{begin:%Y%m%d%H}00",
                "periodEnd": f"{stop + timedelta(minutes=59):%Y%m%d%H}00",
            }
            request = Request(self._base, {**asked, **span}, secret_params={"securityToken": self._key})
            document = self._parsed(self._fetcher.text(self.name, request, self.step_s))
            if document.tag.endswith("Acknowledgement_MarketDocument"):
                code = _text(document, "code")
                if code != _NO_DATA:
                    raise GridError(
                        f"{self.name} refuses the question for {zone} (reason {code[:10] or 'not told'})"
                    )
                continue
            if not document.tag.endswith("MarketDocument"):
                raise GridError(f"{self.name} answered XML that is no market document")
            yield document

    def _parsed(self, text: str) -> ET.Element:
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise GridError(f"{self.name} answered XML with a document type: it is not read")
        try:
            return ET.fromstring(text)  # noqa: S314 - without a document type there are no entities to expand
        except ET.ParseError as error:
            raise GridError(
                f"{self.name} answered what is no XML, or was cut off ({len(text)} characters)"
            ) from error

    def _points(self, told: ET.Element, of: str) -> Iterator[tuple[datetime, float, timedelta]]:
        """Yield time, value and length of every point of a time series, repeated ones filled in (curve type A03)."""
        repeats = _text(told, "curveType") == "A03"
        for period in _all(told, "Period"):
            match = _RESOLUTION.match(_text(period, "resolution"))
            if not match:
                raise GridError(f"{self.name} answered a resolution of {_text(period, 'resolution')[:20]!r}")
            step = timedelta(minutes=int(match[1] or 0), hours=int(match[2] or 0))
            start, end = (moment(self.name, _text(period, name)) for name in ("start", "end"))
            count = (end - start) // step if step else 0
            values: dict[int, float] = {}
            for point in _all(period, "Point"):
                position, value = (
                    number(self.name, _text(point, "position")),
                    number(self.name, _text(point, of)),
                )
                if position is not None and value is not None:
                    values[int(position)] = value
            last: float | None = None
            for position in range(1, min(count, 40_000) + 1):
                last = values.get(position, last if repeats else None)
                if last is not None:
                    yield start + step * (position - 1), last, step


def _sum_of_types(kinds: dict[str, list[float]]) -> float:
    """Return the mean power of an hour: of several time series of one type the last, of several types the sum."""
    by_type: dict[str, list[float]] = {}
    for name, powers in kinds.items():
        by_type[name.partition("/")[0]] = powers
    return sum(sum(powers) / len(powers) for powers in by_type.values())


def _all(element: ET.Element, name: str) -> list[ET.Element]:
    return [e for e in element.iter() if e.tag.rpartition("}")[2] == name]


def _text(element: ET.Element, name: str) -> str:
    """Return the text of the first element of this name inside, whatever its namespace; "" where there is none."""
    return next((e.text or "" for e in element.iter() if e.tag.rpartition("}")[2] == name), "")
