"""The United States by fuel: the Energy Information Administration's API v2. Needs a free key; public domain.

Hourly net generation by fuel of a balancing authority becomes intensity by the factors of grid/mix.py: production, not
consumption. What the format does to us: a period is the hour that ends at that time; numbers come as text; an answer of
over 5,000 rows is cut off with a warning; a wrong name gives no rows and no error. It lags by about a day.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import final

from joulewise.grid.fetching import Fetcher, Request
from joulewise.grid.sources.port import chunks, ended, from_mix, moment, number, rows, series
from joulewise.vocabulary.signal import Factors, Meaning, Scope, Signal

BASE = "https://api.eia.gov/v2"
_DAYS = 14  # 12 fuels x 24 hours x 14 days are 4,032 rows: below the 5,000 of an answer
_RESPONDENTS = {
    "US": "US48", "US-CA": "CISO", "US-TX": "ERCO", "US-NY": "NYIS", "US-FL": "FLA", "US-TN": "TVA",
    "US-CAL-CISO": "CISO", "US-TEX-ERCO": "ERCO", "US-MIDA-PJM": "PJM", "US-MIDW-MISO": "MISO", "US-NE-ISNE": "ISNE",
    "US-CENT-SWPP": "SWPP", "US-NY-NYIS": "NYIS", "US-NW-BPAT": "BPAT", "US-SE-SOCO": "SOCO",
}  # fmt: skip
_FUELS = {
    "COL": "coal", "NG": "gas", "NUC": "nuclear", "OIL": "oil", "OTH": "other", "SUN": "solar", "WAT": "hydro",
    "WND": "wind", "BAT": "storage", "PS": "pumped", "GEO": "geothermal", "BIO": "biomass", "SNB": "solar", "WNB": "wind", "OES": "storage",
}  # fmt: skip


@final
class Eia:
    """Intensity computed from the fuel mix of American balancing authorities."""

    name = "EIA"
    step_s = 3600

    def __init__(
        self, fetcher: Fetcher, key: str, base: str = BASE, factors: Factors = Factors.LIFECYCLE
    ) -> None:
        self._fetcher, self._key, self._base = fetcher, key, base
        self._factors = factors

    def covers(self, zone: str) -> bool:
        """Return whether a balancing authority is known for the zone."""
        return zone in _RESPONDENTS or zone in _RESPONDENTS.values()

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return hourly intensity computed from net generation by fuel."""
        mixes: dict[datetime, dict[str, float | None]] = {}
        for begin, stop in chunks(start, ended(end, self._fetcher.now_utc(), self.step_s), _DAYS):
            for row in self._rows(zone, begin, stop):
                hour = moment(self.name, row.get("period")) - timedelta(hours=1)
                if not start - timedelta(hours=1) < hour < end:
                    continue
                fuel, value = (
                    _FUELS.get(str(row.get("fueltype")), "other"),
                    number(self.name, row.get("value")),
                )
                mix = mixes.setdefault(hour, {})
                mix[fuel] = value if mix.get(fuel) is None or value is None else (mix[fuel] or 0.0) + value
        meaning = Meaning(factors=self._factors, scope=Scope.PRODUCTION)
        return series(zone, meaning, self.step_s, from_mix(mixes, self._factors), self.name, lag_s=86400)

    def ahead(self, zone: str) -> Signal | None:  # noqa: ARG002 - the port's
        """Return None: the service forecasts demand only."""
        return None

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:  # noqa: ARG002 - the port's
        """Return None: hourly prices are not in this data."""
        return None

    def _rows(self, zone: str, begin: datetime, stop: datetime) -> list[dict[str, object]]:
        """Return the rows of a stretch, each time and fuel once (the last told), page by page."""
        found: dict[tuple[object, object], dict[str, object]] = {}
        offset, length = 0, 5000
        while True:
            params = {
                "frequency": "hourly",
                "data[0]": "value",
                "facets[respondent][]": _RESPONDENTS.get(zone, zone),
                "start": f"{begin:%Y-%m-%dT%H}",
                "end": f"{stop + timedelta(hours=1):%Y-%m-%dT%H}",
                "sort[0][column]": "period",
                "sort[0][direction]": "asc",
                "offset": str(offset),
                "length": str(length),
            }
            url = f"{self._base}/electricity/rto/fuel-type-data/data/"
            request = Request(url, params, secret_params={"api_key": self._key})
            told = rows(self.name, self._fetcher.json(self.name, request, self.step_s), "response", "data")
            for row in told:
                found[row.get("period"), row.get("fueltype")] = dict(row)
            if len(told) < length:
                return list(found.values())
            offset += length
