"""Marginal intensity: WattTime v3. Needs name and password; without a plan only northern California is open.

Five minutes of `co2_moer` (pounds of CO2 per MWh of the plants that answer a change), and its forecast of up to 72 h.
A login gives a token for half an hour; when it has run out (401) a new one is fetched once. Zones are WattTime's
own regions (`CAISO_NORTH`); `US-CA` is taken for that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, final

from joulewise.grid.fetching import Fetcher, Refused, Request
from joulewise.grid.sources.port import chunks, ended, moment, number, rows, series
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Factors, Kind, Meaning, Scope, Signal, SignalPoint

BASE = "https://api.watttime.org"
G_PER_KWH_OF_LBS_PER_MWH = 0.45359237
_MEANING = Meaning(Kind.MARGINAL, Factors.DIRECT, Scope.PRODUCTION)
_DAYS = 30
_REGIONS = {"US-CA": "CAISO_NORTH"}


@final
class WattTime:
    """Marginal operating emission rates of a region."""

    name = "WattTime"
    step_s = 300

    def __init__(self, fetcher: Fetcher, key: str, base: str = BASE) -> None:
        """Take the key as `name:password`."""
        self._fetcher, self._base = fetcher, base
        name, _, password = key.partition(":")
        self._login, self._token = (name, password), ""

    def covers(self, zone: str) -> bool:
        """Return whether this is a region of theirs by its form (`CAISO_NORTH`), or one that is known to be."""
        return zone in _REGIONS or (zone.isupper() and "_" in zone)

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return the five minutes from `start`."""
        points = {}
        for begin, stop in chunks(start, ended(end, self._fetcher.now_utc(), self.step_s), _DAYS):
            answer = self._asked(
                "historical", zone, {"start": f"{begin:%Y-%m-%dT%H:%MZ}", "end": f"{stop:%Y-%m-%dT%H:%MZ}"}
            )
            points.update(self._points(answer, None))
        points = {when: p for when, p in points.items() if start - timedelta(minutes=5) < when < end}
        return series(zone, _MEANING, self.step_s, points, self.name)

    def ahead(self, zone: str) -> Signal | None:
        """Return the forecast of the next 72 h, issued when it was generated."""
        answer = self._asked("forecast", zone, {"horizon_hours": "72"})
        meta = answer.get("meta")
        told = meta.get("generated_at") if isinstance(meta, Mapping) else None
        points = self._points(answer, moment(self.name, told) if told else self._fetcher.now_utc())
        return series(zone, _MEANING, self.step_s, points, self.name)

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:  # noqa: ARG002 - the port's
        """Return None: the service has no prices."""
        return None

    def _points(self, answer: Any, issued: datetime | None) -> dict[datetime, SignalPoint]:
        unit = answer.get("meta", {}).get("units") if isinstance(answer, Mapping) else None
        if unit not in (None, "lbs_co2_per_mwh"):
            raise GridError(f"{self.name} answered in {str(unit)[:40]} and not in lbs_co2_per_mwh")
        points = {}
        for row in rows(self.name, answer, "data"):
            value = number(self.name, row.get("value"))
            grams = None if value is None else value * G_PER_KWH_OF_LBS_PER_MWH
            points[moment(self.name, row.get("point_time"))] = SignalPoint(grams, issued)
        return points

    def _asked(self, what: str, zone: str, params: Mapping[str, str]) -> Any:
        asked = {"region": _REGIONS.get(zone, zone), "signal_type": "co2_moer", **params}
        for attempt in (1, 2):
            token = self._token or self._logged_in()
            request = Request(
                f"{self._base}/v3/{what}", asked, secret_headers={"Authorization": f"Bearer {token}"}
            )
            try:
                return self._fetcher.json(self.name, request, self.step_s)
            except Refused:
                self._token = ""
                if attempt == 2:
                    raise
        raise AssertionError  # the loop returns or raises

    def _logged_in(self) -> str:
        answer = self._fetcher.json(self.name, Request(f"{self._base}/login", secret_login=self._login), 0)
        token = answer.get("token") if isinstance(answer, Mapping) else None
        if not isinstance(token, str):
            raise GridError(f"{self.name} gave no token for this login")
        self._token = token
        return token
