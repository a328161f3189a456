"""`joulewise zones` lists what the catalogue knows."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from joulewise.catalogue.zones import zones
from joulewise.cli.zones import command
from joulewise.vocabulary.errors import UnknownName


def listed(*arguments):
    result = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.output)


def test_all_zones_by_code():
    """Without a text every zone of the catalogue is listed by code, and the world's range beside them."""
    answer = listed()

    codes = [zone["code"] for zone in answer["zones"]]
    assert answer["schema_version"] == 1
    assert codes == sorted(z.code for z in zones())
    assert answer["world"]["low"] < answer["world"]["value"] < answer["world"]["high"]


def test_cleanest_first():
    """Sorted by intensity the means only grow."""
    means = [zone["g_per_kwh"]["value"] for zone in listed("--sort", "intensity")["zones"]]

    assert means == sorted(means)
    assert means[0] < means[-1]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("DE", ["DE"]),
        ("deu", ["DE"]),
        ("Germany", ["DE"]),
        ("uk", ["GB"]),
        ("US-CA", ["US-CA"]),
        ("zealand", ["NZ"]),
        ("Georgia", ["GE", "US-GA"]),
        ("guinea", ["GN", "GQ", "GW", "PG"]),
    ],
)
def test_text(text, codes):
    """A code means its zone only; a name or a part of one means all zones that are called so."""
    assert [zone["code"] for zone in listed(text)["zones"]] == codes


def test_country_with_states():
    """A country that has smaller zones is listed with them."""
    codes = [zone["code"] for zone in listed("US")["zones"]]

    assert codes[0] == "US"
    assert len(codes) > 40
    assert all(code.startswith("US") for code in codes)


def test_unknown_zone_suggests():
    """A name that no zone has is refused with the nearest one."""
    result = CliRunner().invoke(command, ["Germny"])

    assert isinstance(result.exception, UnknownName)
    assert "Germany" in str(result.exception)


def test_table():
    """The table shows mean, interval, year, kind, factors and source."""
    output = CliRunner().invoke(command, ["France"]).output

    zone = next(z for z in zones() if z.code == "FR")
    row = output.splitlines()[1]
    assert row.startswith("FR ")
    for part in (f"{zone.g_per_kwh:.0f}", str(zone.year), "average", "lifecycle", zone.source):
        assert part in row
