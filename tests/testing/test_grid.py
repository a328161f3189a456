"""The doubles of the grid's services: one truth in every service's own shape, and each fault once."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.testing.clock import FakeClock
from joulewise.testing.grid import KEY, GridServices, daily

NOW = datetime(2026, 3, 30, 9, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def services():
    with GridServices(FakeClock(NOW)) as services:
        yield services


def ask(services, path, **headers):
    request = urllib.request.Request(services.base("") + path, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return json.loads(answer.read())


def test_one_truth(services):
    """Two services that are asked for the same hour tell the same truth, each in its own shape and step."""
    hour = NOW.replace(minute=0) - 3 * HOUR
    uk = ask(services, f"uk/intensity/{hour + HOUR / 2:%Y-%m-%dT%H:%MZ}/{hour + HOUR:%Y-%m-%dT%H:%MZ}")
    maps = ask(
        services,
        "electricity_maps/carbon-intensity/history?zone=DE&disableCallerLookup=true",
        **{"auth-token": KEY},
    )

    told = [r["carbonIntensity"] for r in maps["history"] if r["datetime"].startswith(f"{hour:%Y-%m-%dT%H}")]
    assert told == [daily(hour)]
    assert {row["intensity"]["actual"] for row in uk["data"]} == {round(daily(hour))}


def test_the_future_has_no_actual_values(services):
    """What has not ended by the clock has no actual value."""
    told = ask(services, f"uk/intensity/{NOW.replace(minute=0):%Y-%m-%dT%H:%MZ}/fw24h")["data"]

    assert [row["intensity"]["actual"] is None for row in told[:3]] == [False, True, True]
    assert all(row["intensity"]["actual"] is None for row in told[1:])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("electricity_maps/carbon-intensity/history?zone=DE&disableCallerLookup=true", 401),
        ("eia/electricity/rto/fuel-type-data/data/?api_key=wrong", 403),
        ("entsoe?securityToken=wrong", 401),
        ("watttime/login", 403),
        ("watttime/v3/forecast?region=CAISO_NORTH", 401),
        ("uk/nonsense", 400),
        ("nobody/knows", 404),
    ],
)
def test_refusals(services, path, status):
    """Each service refuses a wrong key or question with its own status."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(services, path)
    caught.value.close()

    assert caught.value.code == status


def test_faults(services):
    """A fault holds for so many answers; silence is no answer at all."""
    path = f"uk/intensity/{NOW:%Y-%m-%dT%H:%MZ}/fw24h"
    services.fault, services.fault_times = "503", 1
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(services, path)
    caught.value.close()
    assert ask(services, path)["data"]

    services.fault, services.fault_times = "silent", 1
    with socket.create_connection(
        ("127.0.0.1", int(services.base("").rsplit(":", 1)[1].rstrip("/"))), timeout=0.2
    ) as link:
        link.sendall(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            link.recv(1)
