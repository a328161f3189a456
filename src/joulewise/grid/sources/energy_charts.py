"""Europe: Energy-Charts of Fraunhofer ISE. No key; CC BY 4.0.

Quarter hours of CO2 equivalents per kWh and their forecast (the rest of today, and tomorrow once it is there), and
day-ahead prices in EUR per MWh whatever the local currency. The values count equivalents, hence lifecycle factors,
of generation in the country.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, final

from joulewise.grid.fetching import Fetcher, Request
from joulewise.grid.sources.port import number, series, usual_step_s
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Meaning, Scope, Signal, SignalPoint

BASE = "https://api.energy-charts.info"
_MEANING = Meaning(scope=Scope.PRODUCTION)
_COUNTRIES = frozenset(
    ["AL", "AM", "AT", "AZ", "BA", "BE", "BG", "BY", "CH", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GE", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MD", "ME", "MK", "MT", "NL", "NO", "PL", "PT", "RO", "RS", "RU", "SE", "SI", "SK", "TR", "UA", "XK"]
)  # fmt: skip
_BIDDING_ZONES = {"DE": "DE-LU", "LU": "DE-LU", "DK": "DK1", "IT": "IT-North", "NO": "NO2", "SE": "SE4"}
_PRICED = frozenset(
    ["AT", "BE", "CH", "CZ", "DE", "LU", "DK", "FR", "HU", "IT", "NL", "NO", "PL", "SE", "SI"]
)


@final
class EnergyCharts:
    """Intensity, its forecast and day-ahead prices of European countries."""

    name = "Energy-Charts"
    step_s = 900

    def __init__(self, fetcher: Fetcher, base: str = BASE) -> None:
        self._fetcher, self._base = fetcher, base

    def covers(self, zone: str) -> bool:
        """Return whether this is a European country."""
        return zone in _COUNTRIES

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return the actual quarter hours."""
        answer = self._asked(f"{zone.lower()}", {"start": f"{start:%Y-%m-%d}", "end": f"{end:%Y-%m-%d}"})
        points = {
            when: SignalPoint(value)
            for when, value in self._column(answer, "co2eq")
            if start <= when < end and value is not None
        }
        return series(zone, _MEANING, usual_step_s(points, self.step_s), points, self.name)

    def ahead(self, zone: str) -> Signal | None:
        """Return the forecast of the hours that have no actual value yet."""
        now = self._fetcher.now_utc()
        answer = self._asked(zone.lower(), {})
        told = [when for when, value in self._column(answer, "co2eq") if value is not None]
        last = max(told) if told else None
        points = {
            when: SignalPoint(value, now)
            for when, value in self._column(answer, "co2eq_forecast")
            if value is not None and (last is None or when > last)
        }
        return series(zone, _MEANING, usual_step_s(points, self.step_s), points, self.name)

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return day-ahead prices in EUR per kWh; None where the country has none here."""
        if zone not in _PRICED:
            return None
        params = {
            "bzn": _BIDDING_ZONES.get(zone, zone),
            "start": f"{start:%Y-%m-%d}",
            "end": f"{end:%Y-%m-%d}",
        }
        answer = self._fetcher.json(self.name, Request(f"{self._base}/price", params), 3600)
        points = {
            when: SignalPoint(value / 1000)
            for when, value in self._column(answer, "price")
            if start <= when < end and value is not None
        }
        return series(zone, Meaning.price("EUR"), usual_step_s(points, 3600), points, self.name)

    def _asked(self, country: str, params: Mapping[str, str]) -> Any:
        return self._fetcher.json(
            self.name, Request(f"{self._base}/co2eq", {"country": country, **params}), self.step_s
        )

    def _column(self, answer: Any, column: str) -> list[tuple[datetime, float | None]]:
        """Return a column with its times; doubled times keep the order they came in."""
        times = answer.get("unix_seconds") if isinstance(answer, Mapping) else None
        values = answer.get(column) if isinstance(answer, Mapping) else None
        if not isinstance(times, Sequence) or not isinstance(values, Sequence) or len(times) != len(values):
            raise GridError(f"{self.name} answered in a shape that is not its documented one ({column})")
        try:
            moments = [datetime.fromtimestamp(int(t), UTC) for t in times]
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise GridError(f"{self.name} answered what are no times") from error
        return [(when, number(self.name, value)) for when, value in zip(moments, values, strict=True)]
