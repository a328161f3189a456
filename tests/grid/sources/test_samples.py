"""The doubles are faithful: recorded answers of the real services read alike, and have the shapes of the doubles'."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from joulewise.grid.sources.energy_charts import EnergyCharts
from joulewise.grid.sources.uk_carbon_intensity import UkCarbonIntensity
from joulewise.testing.clock import FakeClock
from joulewise.testing.grid import GridServices

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "carbon" / "api_samples"


class Recorded:
    """A fetcher that answers one recorded file at the time of its recording."""

    def __init__(self, name, now) -> None:
        if not SAMPLES.is_dir():
            pytest.skip("the recorded answers are not here")
        self.told = json.loads((SAMPLES / name).read_text(encoding="utf-8"))
        self._now = now

    def now_utc(self):
        return self._now

    def json(self, service, request, fresh_s):
        return self.told


def shape(told):
    """Return the keys of an answer, all the way down."""
    if isinstance(told, dict):
        return {key: shape(value) for key, value in told.items()}
    if isinstance(told, list):
        return [shape(told[0])] if told else []
    return "null or number" if told is None or isinstance(told, int | float) else type(told).__name__


def doubled(now, service, path):
    with GridServices(FakeClock(now)) as services:
        status, body = services.answer(f"/{service}/{path}", {"country": "de"}, {})
    assert status == 200
    return json.loads(body)


def test_national():
    """The national forecast of 48 h: 95 half hours from the running one; the one before it has an actual value."""
    now = datetime(2023, 12, 3, 11, 5, tzinfo=UTC)
    recorded = Recorded("neso_national_fw48h_2023-12-03.json", now)
    source = UkCarbonIntensity(recorded)  # type: ignore[arg-type] # of a fetcher, what is used of it

    ahead, past = source.ahead("GB"), source.past("GB", now - timedelta(hours=1), now)

    assert ahead is not None
    assert (ahead.start_utc, len(ahead), ahead.gaps) == (now.replace(minute=0), 95, 0)
    assert list(ahead.values[:2]) == [216, 220]
    assert past is not None
    assert list(past.values) == [206]
    assert shape(recorded.told) == shape(doubled(now, "uk", "intensity/2023-12-03T11:00Z/fw48h"))


def test_regional():
    """The forecast of a region comes in an object and has no actual values; generation by fuel beside it is left alone."""
    now = datetime(2023, 12, 3, 11, 5, tzinfo=UTC)
    recorded = Recorded("neso_regional_fw48h_london_2023-12-03.json", now)
    ahead = UkCarbonIntensity(recorded).ahead("GB-13")  # type: ignore[arg-type] # as above

    assert ahead is not None
    assert (len(ahead), ahead.gaps, ahead.values[0]) == (95, 0, 136)
    row = shape(recorded.told)["data"]["data"][0]
    ours = shape(doubled(now, "uk", "regional/intensity/2023-12-03T11:00Z/fw48h/regionid/13"))["data"][
        "data"
    ][0]
    assert {**ours, "generationmix": row["generationmix"]} == row


def test_energy_charts():
    """Quarter hours: 65 actual ones, then the forecast, which begins where they end."""
    now = datetime(2024, 3, 22, 16, 20, tzinfo=UTC)
    recorded = Recorded("energycharts_co2eq_de_2024-03-22.json", now)
    source = EnergyCharts(recorded)  # type: ignore[arg-type] # as above

    past, ahead = source.past("DE", now - timedelta(days=1), now), source.ahead("DE")

    assert past is not None
    assert ahead is not None
    assert (past.step_s, past.gaps, past.values[0]) == (900, 0, 322)
    assert ahead.start_utc == past.end_utc
    assert len(ahead) + len(past) == 188
    ours = set(doubled(now, "energy_charts", "co2eq"))
    assert {"unix_seconds", "co2eq", "co2eq_forecast"} == ours == ours & set(recorded.told)
