"""Most of the world: Electricity Maps v3. Needs a key; what it may ask is a matter of its plan.

Hours (flow-traced consumption, lifecycle unless told otherwise), the provider's own estimates marked; history of 24 h,
past ranges of ten days a request, forecasts of up to 72 h on paid plans. Day-ahead prices per MWh in the market's
currency: the hours that have begun as a past range, those to come as a forecast from start to end. The look-up by the caller's address is
always switched off: an unknown place must fail, not become ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, final

from joulewise.grid.fetching import Fetcher, Request
from joulewise.grid.sources.port import chunks, ended, moment, number, rows, series
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Factors, Meaning, Scope, Signal, SignalPoint

BASE = "https://api.electricitymaps.com/v3"
_DAYS = 10
_ZONES = {
    "US-CA": "US-CAL-CISO", "US-TX": "US-TEX-ERCO", "US-NY": "US-NY-NYIS", "AU-NSW": "AU-NSW",
}  # fmt: skip


@final
class ElectricityMaps:
    """Average intensity of a zone as consumed, its forecast and its prices where the plan has them."""

    name = "Electricity Maps"
    step_s = 3600

    def __init__(
        self, fetcher: Fetcher, key: str, base: str = BASE, factors: Factors = Factors.LIFECYCLE
    ) -> None:
        self._fetcher, self._key, self._base = fetcher, key, base
        self._meaning = Meaning(factors=factors, scope=Scope.CONSUMPTION)

    def covers(self, zone: str) -> bool:
        """Return whether this may be a zone of theirs: a country, or a part of one."""
        return zone[:2].isalpha() and zone[:2].isupper() and (len(zone) == 2 or zone[2] == "-")

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return the hours from `start`; the last day is asked as history, which every plan may."""
        end = ended(end, self._fetcher.now_utc(), self.step_s)
        told: list[Mapping[str, Any]] = []
        if end - start <= timedelta(hours=24) and self._fetcher.now_utc() - start <= timedelta(hours=24):
            told = rows(self.name, self._asked("history", zone, {}), "history")
        else:
            for begin, stop in chunks(start, end, _DAYS):
                told += rows(self.name, self._asked("past-range", zone, _span(begin, stop)), "data")
        points = {}
        for row in told:
            when = moment(self.name, row.get("datetime"))
            if start - timedelta(hours=1) < when < end:
                value = number(self.name, row.get("carbonIntensity"))
                points[when] = SignalPoint(value, estimated=row.get("isEstimated") is True)
        return series(zone, self._meaning, self.step_s, points, self.name)

    def ahead(self, zone: str) -> Signal | None:
        """Return the forecast of the next 72 h, issued when the service last renewed it."""
        answer = self._asked("forecast", zone, {"horizonHours": "72"})
        told = rows(self.name, answer, "forecast")
        issued = (
            moment(self.name, answer["updatedAt"]) if answer.get("updatedAt") else self._fetcher.now_utc()
        )
        points = {
            moment(self.name, row.get("datetime")): SignalPoint(
                number(self.name, row.get("carbonIntensity")), issued
            )
            for row in told
        }
        return series(zone, self._meaning, self.step_s, points, self.name)

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return day-ahead prices per kWh; None where those of the coming hours were asked and there are none."""
        now = ended(end, self._fetcher.now_utc(), self.step_s)
        told: list[Mapping[str, Any]] = []
        for begin, stop in chunks(now, end, _DAYS):
            told += self._priced("forecast", zone, begin, stop)
        if now < end and not told:
            return None
        running = min(end, now + timedelta(seconds=self.step_s))  # either may hold the hour that has begun
        for begin, stop in chunks(start, running, _DAYS):
            told += self._priced("past-range", zone, begin, stop)
        points, currency = {}, ""
        for row in told:
            when = moment(self.name, row.get("datetime"))
            if start <= when < end:
                currency = self._currency(row.get("unit"), currency)
                value = number(self.name, row.get("value"))
                points[when] = SignalPoint(
                    None if value is None else value / 1000, estimated=row.get("isEstimated") is True
                )
        return series(zone, Meaning.price(currency), self.step_s, points, self.name) if points else None

    def _priced(self, what: str, zone: str, start: datetime, end: datetime) -> list[Mapping[str, Any]]:
        answer = self._answer(f"price-day-ahead/{what}", zone, _span(start, end))
        return rows(self.name, answer, "data")

    def _currency(self, told: Any, before: str) -> str:
        """Return the currency of a unit like `EUR/MWh`; another unit, or a second currency, is refused."""
        currency, _, per = str(told).partition("/")
        if per != "MWh" or not re.fullmatch("[A-Z]{3}", currency) or before not in ("", currency):
            raise GridError(
                f"{self.name} answered prices in {str(told)[:40]!r}, where EUR/MWh or the like belongs"
            )
        return currency

    def _asked(self, what: str, zone: str, params: Mapping[str, str]) -> Any:
        factors = {"emissionFactorType": self._meaning.factors.value}
        return self._answer(f"carbon-intensity/{what}", zone, {**factors, **params})

    def _answer(self, path: str, zone: str, params: Mapping[str, str]) -> Any:
        request = Request(
            f"{self._base}/{path}",
            {
                "zone": _ZONES.get(zone, zone),
                "temporalGranularity": "hourly",
                "disableCallerLookup": "true",
                **params,
            },
            secret_headers={"auth-token": self._key},
        )
        return self._fetcher.json(self.name, request, self.step_s)


def _span(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
