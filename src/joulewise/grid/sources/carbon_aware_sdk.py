"""The web API of the Green Software Foundation's carbon-aware-sdk, run by the user or their company. No key of ours.

It hands on WattTime (marginal), Electricity Maps (average) or a file, and does not say which: so whoever names its address
says what its values mean. Past by `/emissions/bylocation`, forecast by `/emissions/forecasts/current`; minutes, g/kWh.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import final

from joulewise.grid.fetching import Fetcher, Request
from joulewise.grid.sources.port import ended, moment, number, rows, series, usual_step_s
from joulewise.vocabulary.signal import Meaning, Signal, SignalPoint


@final
class CarbonAwareSdk:
    """Past and forecast of whatever the installation is fed with; `meaning` is what the user says it is."""

    name = "carbon-aware-sdk"
    step_s = 300

    def __init__(self, fetcher: Fetcher, base: str, meaning: Meaning) -> None:
        self._fetcher, self._base, self._meaning = fetcher, base.rstrip("/"), meaning

    def covers(self, zone: str) -> bool:
        """Return True: it knows the locations that its owner gave it."""
        return bool(zone)

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return the ratings of the time."""
        end = ended(end, self._fetcher.now_utc(), self.step_s)
        params = {"location": zone, "time": f"{start:%Y-%m-%dT%H:%MZ}", "toTime": f"{end:%Y-%m-%dT%H:%MZ}"}
        answer = self._fetcher.json(
            self.name, Request(f"{self._base}/emissions/bylocation", params), self.step_s
        )
        points = {
            moment(self.name, row.get("time")): SignalPoint(number(self.name, row.get("rating")))
            for row in rows(self.name, answer)
        }
        step_s = usual_step_s(points, self.step_s)
        points = {when: p for when, p in points.items() if start - timedelta(seconds=step_s) < when < end}
        return series(zone, self._meaning, step_s, points, self.name)

    def ahead(self, zone: str) -> Signal | None:
        """Return the current forecast, issued when it was generated."""
        request = Request(f"{self._base}/emissions/forecasts/current", {"location": zone})
        told = rows(self.name, self._fetcher.json(self.name, request, self.step_s))
        if not told:
            return None
        issued = (
            moment(self.name, told[0]["generatedAt"])
            if told[0].get("generatedAt")
            else self._fetcher.now_utc()
        )
        data = rows(self.name, told[0], "forecastData")
        points = {
            moment(self.name, row.get("timestamp")): SignalPoint(number(self.name, row.get("value")), issued)
            for row in data
        }
        minutes = next((number(self.name, row["duration"]) for row in data if row.get("duration")), None)
        return series(
            zone, self._meaning, int(minutes * 60) if minutes else self._step_of(points), points, self.name
        )

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:  # noqa: ARG002 - the port's
        """Return None: the SDK has no prices."""
        return None

    def _step_of(self, points: Mapping[datetime, SignalPoint]) -> int:
        return usual_step_s(points, self.step_s)
