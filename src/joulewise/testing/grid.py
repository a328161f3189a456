"""Doubles of the grid's services on loopback: seven services in the shapes of their documentation, one known truth.

    with GridServices(clock) as services:
        UkCarbonIntensity(Fetcher(None, clock), services.base("uk"))

What each service answers is computed from `truth` (g/kWh at a time; its forecast is the truth plus `forecast_error`), in
the steps, units and envelopes that the service documents; a service of fuel mixes gets coal and wind that make it.
`nulls`, `missing` and `doubled` are hours that come without a value, not at all, and twice (first wrong).
`fault` makes everything fail: a status ("401" ... "503"), "429" (with `retry_after`), "silent", "cut" (a body shorter than
announced), "torn" (a body without its end), "html", "empty", "redirect"; `fault_times` limits it to so many answers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from math import cos, pi
from typing import Any, final
from urllib.parse import parse_qs, urlsplit

from joulewise.grid.mix import LIFECYCLE
from joulewise.testing.loopback import Loopback
from joulewise.vocabulary.clock import Clock

KEY = "s3cret-key-of-the-tests"
LOGIN = "reader:s3cret-key-of-the-tests"
_HOUR = timedelta(hours=1)
_LBS_PER_MWH = 0.45359237
SERVICES = ("uk", "energy_charts", "electricity_maps", "watttime", "entsoe", "eia", "sdk")
_Answer = tuple[int, str]


def daily(when: datetime) -> float:
    """Return a truth that is cleanest at 13:00 UTC and no two days alike."""
    return float(round(300 + 120 * cos(2 * pi * (when.hour - 1) / 24) + when.day))


@final
class GridServices(Loopback):
    """All services on one free port of loopback. `requests` lists the paths asked for."""

    def __init__(self, clock: Clock, truth: Callable[[datetime], float] = daily) -> None:
        super().__init__(_Handler)
        self.clock, self.truth = clock, truth
        self.forecast_error = 0.0
        self.nulls: set[datetime] = set()
        self.missing: set[datetime] = set()
        self.doubled: set[datetime] = set()
        self.requests: list[str] = []
        self.fault = ""
        self.fault_times = 10**6
        self.retry_after = "120"
        self.tokens: set[str] = set()

    def base(self, service: str) -> str:
        """Return the address of a service of `SERVICES`."""
        return f"http://127.0.0.1:{self.port}/{service}"

    def takes_fault(self) -> str:
        """Return the fault of this answer, and count it."""
        if not self.fault or self.fault_times <= 0:
            return ""
        self.fault_times -= 1
        return self.fault

    def rows(
        self, start: datetime, end: datetime, step_s: int, *, ahead: bool = False
    ) -> Iterator[tuple[datetime, float | None]]:
        """Yield time and value of every step that starts from `start` until before `end`, faults of the data included."""
        step = timedelta(seconds=step_s)
        when = datetime.fromtimestamp(-(-start.timestamp() // step_s) * step_s, UTC)
        while when < end:
            hour = when.replace(minute=0, second=0)
            value = self.truth(hour) + (self.forecast_error if ahead else 0.0)
            if hour not in self.missing:
                if hour in self.doubled:
                    yield when, 9999.0
                yield when, None if hour in self.nulls else value
            when += step

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> _Answer:
        """Return status and body of a question."""
        _, service, *rest = path.split("/")
        ask = {
            "uk": self._uk, "energy_charts": self._energy_charts, "electricity_maps": self._electricity_maps,
            "watttime": self._watttime, "entsoe": self._entsoe, "eia": self._eia, "sdk": self._sdk,
        }.get(service)  # fmt: skip
        return ask("/".join(rest), query, headers) if ask else (404, "no such service")

    def _uk(self, path: str, _query: dict[str, str], _headers: dict[str, str]) -> _Answer:
        parts = path.split("/")
        regional = parts[0] == "regional"
        parts = parts[1:] if regional else parts
        if parts[0] != "intensity" or len(parts) < 3:
            return 400, json.dumps(
                {"error": {"code": "400 Bad Request", "message": "Please enter a valid path"}}
            )
        start = _time(parts[1])
        ahead = parts[2] in ("fw24h", "fw48h")
        # like the service: the window begins with the half hour that was running at `from`
        start -= timedelta(minutes=30)
        end = start + timedelta(hours=48 if parts[2] == "fw48h" else 24) if ahead else _time(parts[2])
        if end - start > timedelta(days=14, hours=1):
            return 400, json.dumps(
                {"error": {"code": "400 Bad Request", "message": "maximum range is 14 days"}}
            )
        told = []
        now = self.clock.now_utc()
        for when, value in self.rows(start, end, 1800):
            forecast = None if value is None else round(value + self.forecast_error)
            past = when + timedelta(minutes=30) <= now
            actual = round(value) if past and value is not None else None
            inside: dict[str, Any] = {"forecast": forecast, "index": "moderate"}
            if not regional:
                inside["actual"] = actual
            told.append(
                {
                    "from": f"{when:%Y-%m-%dT%H:%MZ}",
                    "to": f"{when + timedelta(minutes=30):%Y-%m-%dT%H:%MZ}",
                    "intensity": inside,
                }
            )
        if regional:
            return 200, json.dumps(
                {"data": {"regionid": int(parts[-1]), "shortname": "of the double", "data": told}}
            )
        return 200, json.dumps({"data": told})

    def _energy_charts(self, path: str, query: dict[str, str], _headers: dict[str, str]) -> _Answer:
        now = self.clock.now_utc()
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        start = _time(query["start"]) if "start" in query else today
        end = _time(query["end"]) + timedelta(days=1) if "end" in query else today + timedelta(days=2)
        if path == "price":
            told = list(self.rows(start, end, 3600))
            prices = [
                None if v is None else v / 10 - 5 for _, v in told
            ]  # the truth in EUR/MWh: some are negative
            return 200, json.dumps(
                {
                    "license_info": "CC BY 4.0",
                    "unix_seconds": [int(t.timestamp()) for t, _ in told],
                    "price": prices,
                    "unit": "EUR / MWh",
                }
            )
        if path != "co2eq":
            return 404, json.dumps({"detail": "Not Found"})
        told = list(self.rows(start, end, 900))
        return 200, json.dumps(
            {
                "unix_seconds": [int(t.timestamp()) for t, _ in told],
                "co2eq": [v if t + timedelta(minutes=15) <= now else None for t, v in told],
                "co2eq_forecast": [
                    None if v is None or t + timedelta(minutes=15) <= now else v + self.forecast_error
                    for t, v in told
                ],
            }
        )

    def _electricity_maps(self, path: str, query: dict[str, str], headers: dict[str, str]) -> _Answer:
        if headers.get("auth-token") != KEY:
            return 401, json.dumps({"status": "error", "message": "Invalid auth-token"})
        if query.get("disableCallerLookup") != "true":
            return 400, json.dumps(
                {"status": "error", "message": "the double wants the look-up by address off"}
            )
        now = self.clock.now_utc()
        zone = query.get("zone", "")
        if path.startswith("price-day-ahead/"):
            return self._priced(path.removeprefix("price-day-ahead/"), zone, query)
        what = path.removeprefix("carbon-intensity/")
        if what == "forecast":
            updated = now.replace(minute=5, second=0, microsecond=0)
            updated = updated if updated <= now else updated - _HOUR
            hours = int(query.get("horizonHours", "24"))
            start = now.replace(minute=0, second=0, microsecond=0)
            told = [
                {"carbonIntensity": v, "datetime": f"{t:%Y-%m-%dT%H:%M:%S.000Z}"}
                for t, v in self.rows(start, start + hours * _HOUR, 3600, ahead=True)
            ]
            return 200, json.dumps(
                {
                    "zone": zone,
                    "forecast": told,
                    "updatedAt": f"{updated:%Y-%m-%dT%H:%M:%S.000Z}",
                    "temporalGranularity": "hourly",
                }
            )
        if what == "history":
            start, end, name = now - timedelta(hours=24), now - _HOUR, "history"
        elif what == "past-range":
            start, end, name = _time(query["start"]), min(now - _HOUR, _time(query["end"])), "data"
            if end - start > timedelta(days=10):
                return 400, json.dumps({"status": "error", "message": "at most 10 days"})
        else:
            return 404, json.dumps({"status": "error", "message": "Endpoint not available"})
        told = [
            {
                "zone": zone, "carbonIntensity": v, "datetime": f"{t:%Y-%m-%dT%H:%M:%S.000Z}",
                "emissionFactorType": query.get("emissionFactorType", "lifecycle"), "isEstimated": t.hour == 3,
                "estimationMethod": "TIME_SLICER_AVERAGE" if t.hour == 3 else None,
            }
            for t, v in self.rows(start, end + timedelta(seconds=1), 3600)
        ]  # fmt: skip
        return 200, json.dumps({"zone": zone, name: told, "temporalGranularity": "hourly"})

    def _priced(self, what: str, zone: str, query: dict[str, str]) -> _Answer:
        """Return Electricity Maps' day-ahead prices: the truth in EUR/MWh, some below zero, known to tomorrow's end."""
        if what not in ("past-range", "forecast"):
            return 404, json.dumps({"status": "error", "message": "Endpoint not available"})
        if not {"start", "end"} <= query.keys():
            return 400, json.dumps(
                {"status": "error", "message": 'Missing or invalid date parameter "start"'}
            )
        now = self.clock.now_utc()
        tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
        start, end = (
            _time(query["start"]),
            min(_time(query["end"]), now if what == "past-range" else tomorrow),
        )
        if end - start > timedelta(days=10):
            return 400, json.dumps({"status": "error", "message": "at most 10 days"})
        told = [
            {
                "zone": zone, "datetime": f"{t:%Y-%m-%dT%H:%M:%S.000Z}", "unit": "EUR/MWh",
                "value": None if v is None else v / 10 - 5, "source": "of the double", "temporalGranularity": "hourly",
            }
            for t, v in self.rows(start, end, 3600)
        ]  # fmt: skip
        return 200, json.dumps({"zone": zone, "data": told, "temporalGranularity": "hourly"})

    def _watttime(self, path: str, query: dict[str, str], headers: dict[str, str]) -> _Answer:
        if path == "login":
            if headers.get("authorization") != "Basic " + base64.b64encode(LOGIN.encode()).decode():
                return 403, "Forbidden"
            token = f"token-{len(self.tokens)}-{KEY}"
            self.tokens.add(token)
            return 200, json.dumps({"token": token})
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, json.dumps({"detail": "Signature has expired"})
        if query.get("signal_type") != "co2_moer" or not query.get("region"):
            return 400, json.dumps({"detail": "region and signal_type are wanted"})
        now = self.clock.now_utc()
        if path == "v3/forecast":
            start = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0)
            told = self.rows(start, start + int(query["horizon_hours"]) * _HOUR, 300, ahead=True)
        elif path == "v3/historical":
            start, end = _time(query["start"]), _time(query["end"])
            if end - start > timedelta(days=32):
                return 400, json.dumps({"detail": "at most 32 days"})
            told = self.rows(start, min(end, now - timedelta(minutes=5)), 300)
        else:
            return 404, json.dumps({"detail": "Not found"})
        data = [
            {"point_time": t.isoformat(), "value": None if v is None else v / _LBS_PER_MWH} for t, v in told
        ]
        meta = {
            "data_point_period_seconds": 300, "region": query["region"], "signal_type": "co2_moer", "units": "lbs_co2_per_mwh",
            "model": {"date": "2026-01-01"}, "generated_at": start.isoformat(), "generated_at_period_seconds": 300, "warnings": [],
        }  # fmt: skip
        return 200, json.dumps({"data": data, "meta": meta})

    def _mix(self, value: float) -> dict[str, float]:
        """Return MW of coal and wind (and storage, which counts neither way) whose lifecycle intensity is `value`."""
        coal = (value - LIFECYCLE["wind"]) / (LIFECYCLE["coal"] - LIFECYCLE["wind"])
        return {"coal": 1e4 * coal, "wind": 1e4 * (1 - coal), "storage": 500.0}

    def _entsoe(self, _path: str, query: dict[str, str], _headers: dict[str, str]) -> _Answer:
        if query.get("securityToken") != KEY:
            return 401, "<html><body>Unauthorized. Missing or invalid security token</body></html>"
        start, end = (
            datetime.strptime(query[f"period{n}"], "%Y%m%d%H%M").replace(tzinfo=UTC) for n in ("Start", "End")
        )
        if end - start > timedelta(days=366):
            return 400, _acknowledgement("The amount of requested data exceeds allowed limit")
        now = self.clock.now_utc()
        hours = [
            (t, v)
            for t, v in self.rows(start, end, 3600)
            if t + _HOUR <= now or query["documentType"] == "A44"
        ]
        if not hours:
            return 200, _acknowledgement("No matching data found", "999")
        if query["documentType"] == "A44":
            points = [(t, None if v is None else v / 10 - 5) for t, v in hours]
            inside = "<currency_Unit.name>EUR</currency_Unit.name>" + _period(
                start, points, "price.amount", 60
            )
            return 200, _document("Publication", f"<TimeSeries>{inside}</TimeSeries>")
        series = []
        for kind, fuel, minutes in (("B05", "coal", 60), ("B19", "wind", 15), ("B25", "storage", 60)):
            points = [(t, None if v is None else round(self._mix(v)[fuel], 3)) for t, v in hours]
            series.append(
                f"<TimeSeries><inBiddingZone_Domain.mRID>{query['in_Domain']}</inBiddingZone_Domain.mRID><MktPSRType><psrType>{kind}</psrType></MktPSRType>{_period(start, points, 'quantity', minutes)}</TimeSeries>"
            )
        pumping = f"<TimeSeries><outBiddingZone_Domain.mRID>{query['in_Domain']}</outBiddingZone_Domain.mRID><MktPSRType><psrType>B10</psrType></MktPSRType>{_period(start, [(t, 7000.0) for t, _ in hours], 'quantity', 60)}</TimeSeries>"
        return 200, _document("GL", "".join(series) + pumping)

    def _eia(self, _path: str, query: dict[str, str], _headers: dict[str, str]) -> _Answer:
        if query.get("api_key") != KEY:
            return 403, json.dumps(
                {"error": {"code": "API_KEY_INVALID", "message": "An invalid api_key was supplied."}}
            )
        start, end = _time(query["start"] + ":00"), _time(query["end"] + ":00")
        told: list[dict[str, Any]] = []
        # a period is named by the hour's end
        for when, value in self.rows(start - _HOUR, end, 3600):
            if when + _HOUR > self.clock.now_utc() - timedelta(days=1):
                break
            for code, fuel in (("COL", "coal"), ("WND", "wind"), ("BAT", "storage")):
                energy = None if value is None else f"{self._mix(min(value, 800))[fuel]:.3f}"
                told.append(
                    {
                        "period": f"{when + _HOUR:%Y-%m-%dT%H}",
                        "respondent": query["facets[respondent][]"],
                        "fueltype": code,
                        "type-name": fuel,
                        "value": energy,
                        "value-units": "megawatthours",
                    }
                )
        offset, length = int(query["offset"]), min(5000, int(query["length"]))
        response: dict[str, Any] = {"total": str(len(told)), "data": told[offset : offset + length]}
        if len(told) > length:
            response["warnings"] = [
                {"warning": "incomplete return", "description": "The API can only return 5000 rows"}
            ]
        return 200, json.dumps(
            {"response": response, "request": {"command": "/v2/electricity"}, "apiVersion": "2.1.8"}
        )

    def _sdk(self, path: str, query: dict[str, str], _headers: dict[str, str]) -> _Answer:
        now = self.clock.now_utc()
        location = query.get("location", "")
        if path == "emissions/bylocation":
            told = self.rows(
                _time(query["time"]), min(now - _HOUR, _time(query["toTime"])) + timedelta(seconds=1), 3600
            )
            return 200, json.dumps(
                [
                    {"location": location, "time": t.isoformat(), "rating": v, "duration": "01:00:00"}
                    for t, v in told
                ]
            )
        if path == "emissions/forecasts/current":
            start = now.replace(minute=0, second=0, microsecond=0)
            data = [
                {"location": location, "timestamp": t.isoformat(), "duration": 60, "value": v}
                for t, v in self.rows(start, start + 24 * _HOUR, 3600, ahead=True)
            ]
            return 200, json.dumps(
                [
                    {
                        "requestedAt": now.isoformat(),
                        "generatedAt": start.isoformat(),
                        "location": location,
                        "dataStartAt": start.isoformat(),
                        "dataEndAt": (start + 24 * _HOUR).isoformat(),
                        "windowSize": 60,
                        "optimalDataPoint": None,
                        "forecastData": data,
                    }
                ]
            )
        return 400, json.dumps({"title": "One or more validation errors occurred.", "status": 400})


@final
class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        services: GridServices = self.server.double  # type: ignore[attr-defined]
        services.requests.append(self.path)
        parts = urlsplit(self.path)
        fault = services.takes_fault()
        if fault == "silent":
            services.released.wait()
            return
        if fault.isdecimal():
            self._send(
                int(fault), "an error page", {"Retry-After": services.retry_after} if fault == "429" else {}
            )
        elif fault == "html":
            self._send(200, "<html>welcome</html>")
        elif fault == "empty":
            self._send(200, "{}")
        elif fault == "redirect":
            self._send(302, "", {"Location": "http://127.0.0.1:1/elsewhere"})
        else:
            query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {k.lower(): v for k, v in self.headers.items()}
            status, body = services.answer(parts.path, query, headers)
            self._send(status, body, fault=fault)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the standard library
        """Say nothing on the terminal of a test."""

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None, fault: str = "") -> None:
        body = text.encode()
        sent = body[: len(body) * 2 // 3] if fault in ("cut", "torn") else body
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if fault == "cut" else len(sent)))
        with suppress(ConnectionError):  # who asked may have had enough
            self.end_headers()
            self.wfile.write(sent)


def _time(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def _period(start: datetime, points: list[tuple[datetime, float | None]], of: str, minutes: int) -> str:
    """Return a Period element: positions counted from its start, values without one left empty."""
    count = 60 // minutes
    end = max(t for t, _ in points) + _HOUR
    told = []
    for when, value in points:
        first = (when - start) // timedelta(minutes=minutes) + 1
        for position in range(first, first + count):
            inside = "" if value is None else f"{value:.3f}"
            told.append(f"<Point><position>{position}</position><{of}>{inside}</{of}></Point>")
    interval = (
        f"<timeInterval><start>{start:%Y-%m-%dT%H:%MZ}</start><end>{end:%Y-%m-%dT%H:%MZ}</end></timeInterval>"
    )
    return f"<curveType>A01</curveType><Period>{interval}<resolution>PT{minutes}M</resolution>{''.join(told)}</Period>"


def _document(kind: str, inside: str) -> str:
    space = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
    return f'<?xml version="1.0" encoding="UTF-8"?><{kind}_MarketDocument xmlns="{space}"><type>A75</type>{inside}</{kind}_MarketDocument>'


def _acknowledgement(text: str, code: str = "B11") -> str:
    return f'<?xml version="1.0"?><Acknowledgement_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"><Reason><code>{code}</code><text>{text}</text></Reason></Acknowledgement_MarketDocument>'
