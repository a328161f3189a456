"""Great Britain: the Carbon Intensity API of the system operator (NESO). No key; CC BY 4.0.

Half hours, operational emissions (direct factors: nuclear, wind and sun count zero, biomass 120), imports included. The
forecast reaches 48 h. Zones are `GB` and `GB-1` to `GB-17` for the network regions; a region has no actual values, so its
forecasts of the past stand for them and are marked as estimated. A window may begin in the half hour already running.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, final

from joulewise.grid.fetching import Fetcher, Request
from joulewise.grid.sources.port import chunks, ended, moment, number, rows, series
from joulewise.vocabulary.signal import Factors, Meaning, Scope, Signal, SignalPoint

BASE = "https://api.carbonintensity.org.uk"
_MEANING = Meaning(factors=Factors.DIRECT, scope=Scope.CONSUMPTION)
_DAYS = 13  # the service allows 14


@final
class UkCarbonIntensity:
    """Actual and forecast intensity of Great Britain and its regions."""

    name = "UK Carbon Intensity"
    step_s = 1800

    def __init__(self, fetcher: Fetcher, base: str = BASE) -> None:
        self._fetcher, self._base = fetcher, base

    def covers(self, zone: str) -> bool:
        """Return whether this is Great Britain or one of its 17 regions."""
        return zone == "GB" or _region(zone) is not None

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return the actual half hours; of a region its own forecasts of them, as estimates."""
        points: dict[datetime, SignalPoint] = {}
        region = _region(zone)
        for begin, stop in chunks(start, ended(end, self._fetcher.now_utc(), self.step_s), _DAYS):
            span = f"{begin:%Y-%m-%dT%H:%MZ}/{stop:%Y-%m-%dT%H:%MZ}"
            for when, told in self._windows(span, region):
                # the half hour that runs has no actual value yet
                if start - timedelta(minutes=30) < when < end and when <= stop - timedelta(minutes=30):
                    value = told.get("actual") if region is None else told.get("forecast")
                    points[when] = SignalPoint(number(self.name, value), estimated=region is not None)
        return series(zone, _MEANING, self.step_s, points, self.name)

    def ahead(self, zone: str) -> Signal | None:
        """Return the forecast of the next 48 h."""
        now = self._fetcher.now_utc()
        running = now - timedelta(minutes=30)
        points = {
            when: SignalPoint(number(self.name, told.get("forecast")), now)
            for when, told in self._windows(f"{_half_hour(now):%Y-%m-%dT%H:%MZ}/fw48h", _region(zone))
            if when > running
        }
        return series(zone, _MEANING, self.step_s, points, self.name)

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:  # noqa: ARG002 - the port's
        """Return None: the service has no prices."""
        return None

    def _windows(self, span: str, region: int | None) -> list[tuple[datetime, Mapping[str, Any]]]:
        if region is None:
            answer = self._fetcher.json(self.name, Request(f"{self._base}/intensity/{span}"), self.step_s)
            told = rows(self.name, answer, "data")
        else:
            url = f"{self._base}/regional/intensity/{span}/regionid/{region}"
            told = rows(self.name, self._fetcher.json(self.name, Request(url), self.step_s), "data", "data")
        return [
            (moment(self.name, row.get("from")), row["intensity"])
            for row in told
            if isinstance(row.get("intensity"), dict)
        ]


def _region(zone: str) -> int | None:
    kind, _, told = zone.partition("-")
    return int(told) if kind == "GB" and told.isdecimal() and 1 <= int(told) <= 17 else None


def _half_hour(now: datetime) -> datetime:
    return now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)
