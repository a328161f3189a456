"""The verb forecast: a chart, its JSON, and no packet unless asked for."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from joulewise import wiring
from joulewise.cli.app import app
from joulewise.grid.fetching import Fetcher
from joulewise.grid.sources.uk_carbon_intensity import UkCarbonIntensity
from joulewise.testing.clock import FakeClock
from joulewise.testing.grid import GridServices
from joulewise.vocabulary.errors import UnknownName, UsageError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give each test a home of its own."""
    monkeypatch.setenv("JOULEWISE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    """Any connection fails the test."""

    def refuse(*arguments, **others):
        raise AssertionError("a packet was sent, and nobody asked for it")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def say(*arguments):
    return CliRunner().invoke(app, ["forecast", *arguments], catch_exceptions=False)


@pytest.fixture
def csv_file(tmp_path):
    """Ten days of hours until now, clean at every sixth hour."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = [
        (now - timedelta(hours=n), 100 if (now - timedelta(hours=n)).hour % 6 == 0 else 400)
        for n in range(240, 0, -1)
    ]
    path = tmp_path / "grid.csv"
    path.write_text("time,intensity\n" + "".join(f"{t.isoformat()},{v}\n" for t, v in rows))
    return path


def test_chart(csv_file, no_network):
    """The chart marks the cleanest hours and says how the figures are known; nothing leaves the machine."""
    done = say("DE", "--history", str(csv_file))

    assert done.exit_code == 0
    rows = [line for line in done.output.splitlines() if "█" in line or "▏" in line]
    assert len(rows) == 24
    starred = [line for line in rows if " * " in line]
    assert len(starred) == 6
    assert sum("400" not in line.split("(")[0] for line in starred) >= 4
    assert "file grid.csv" in done.output
    assert "weights:" in done.output
    assert "note: no published forecast is at hand" in done.output


@pytest.mark.parametrize(("hours", "rows"), [(1, 1), (36, 36), (48, 24), (168, 33)])
def test_rows(csv_file, hours, rows):
    """Many hours share a row."""
    done = say("DE", "--hours", str(hours), "--history", str(csv_file))

    assert rows - 1 <= sum("█" in line for line in done.output.splitlines()) <= rows + 1


def test_json(csv_file, no_network):
    """The JSON has every hour with its interval, and what the values mean."""
    done = json.loads(say("DE", "--hours", "30", "--json", "--history", str(csv_file)).output)

    assert done["schema_version"] == 1
    assert (done["kind"], done["factors"], done["unit"]) == ("average", "lifecycle", "gCO2e/kWh")
    assert len(done["hours"]) == 30
    assert all(h["low"] <= h["value"] <= h["high"] for h in done["hours"])
    assert sum(done["weights"].values()) == pytest.approx(1)


def test_without_anything(no_network):
    """Without history the verb falls back in words: typical hours for California, the yearly mean for Germany."""
    assert "typical month by hour of CISO" in say("California").output
    done = say("DE").output
    assert "yearly mean" in done
    assert " * " not in done


def test_unknown_zone():
    """An unknown zone is one line with the nearest name."""
    with pytest.raises(UnknownName, match="did you mean Germany"):
        say("Germny")


def test_zones_of_services():
    """A zone that only services know is taken as it is; nothing known of it is said."""
    done = say("CAISO_NORTH")

    assert "nothing is known of CAISO_NORTH" in done.output
    assert "world range" in done.output


@pytest.fixture
def services():
    pytest.importorskip("httpx", reason="asking services needs the extra 'online'")
    clock = FakeClock(datetime.now(UTC))
    with GridServices(clock) as services:
        yield services


def test_online_then_offline(services):
    """What was fetched online is kept: offline it is known still, actual values and forecast."""
    source = UkCarbonIntensity(Fetcher(None, services.clock), services.base("uk"))
    now = services.clock.now_utc()

    online = wiring.outlook("GB", 24, online=True, sources=[source], now=now)
    asked = len(services.requests)
    offline = wiring.outlook("GB", 24, now=now)

    assert "UK Carbon Intensity" in online.signal.source
    assert online.notes == ()
    assert offline.signal.values == online.signal.values
    assert len(services.requests) == asked


def test_a_service_that_fails(services):
    """A service that fails costs its rung and a note: the yearly mean, and no error."""
    services.fault = "503"
    clock = services.clock
    source = UkCarbonIntensity(Fetcher(None, clock, clock.sleep), services.base("uk"))

    found = wiring.outlook("GB", 24, online=True, sources=[source], now=clock.now_utc())

    assert found.method == "yearly mean"
    assert "out of order (503)" in found.notes[0]


def test_sources_by_key(monkeypatch):
    """Two services need no key; each other is asked only where its key or address is set."""
    chosen = wiring.settings()
    assert [s.name for s in wiring.grid_sources(chosen, {})] == ["UK Carbon Intensity", "Energy-Charts"]
    monkeypatch.setenv("JOULEWISE_CARBON_AWARE_SDK", "http://localhost:8080 marginal")
    keys = {"electricitymaps": "a", "entsoe": "b", "eia": "c", "watttime": "d:e"}

    names = [s.name for s in wiring.grid_sources(wiring.settings(), keys)]

    assert names == [
        "Electricity Maps", "UK Carbon Intensity", "Energy-Charts", "ENTSO-E", "EIA", "carbon-aware-sdk", "WattTime",
    ]  # fmt: skip


def test_an_sdk_without_its_kind(monkeypatch):
    """The address of a carbon-aware-sdk alone does not say what it serves."""
    monkeypatch.setenv("JOULEWISE_CARBON_AWARE_SDK", "http://localhost:8080")

    with pytest.raises(UsageError, match="average' or 'marginal'"):
        wiring.grid_sources(wiring.settings(), {})
