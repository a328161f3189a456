"""Places: assembled from plain settings, with the reason for whatever stays unknown."""

from __future__ import annotations

from typing import Any

import pytest

from joulewise.catalogue.cloud import CloudAnswer
from joulewise.catalogue.place import place as assembled
from joulewise.catalogue.pue import PlaceKind
from joulewise.catalogue.uplift import Chassis
from joulewise.vocabulary.errors import UnknownName, UsageError


def place(*arguments: Any, **settings: Any) -> Any:
    """Return a place whose optional parts the tests read without asking."""
    return assembled(*arguments, **settings)


@pytest.mark.parametrize(
    ("chassis", "kind", "pue"),
    [
        ("laptop", "desk", 1.0),
        ("desktop", "desk", 1.0),
        ("server", "on-premises", 1.58),
        ("unknown", "unknown", 1.2),
    ],
)
def test_the_chassis_decides_the_kind(chassis, kind, pue):
    """A laptop or desktop stands at a desk, a server in a data centre."""
    here = place("DE", chassis=chassis)

    assert (here.kind, here.pue.value) == (kind, pue)


def test_the_user_decides():
    """What is set is taken, over what the chassis suggests."""
    here = place(
        "US-CA",
        kind="aws",
        chassis="server",
        tariff="0.1USD",
        pue_value=1.15,
        wall_calibration=1.3,
        life_years=5,
        machine_kg=900,
        timezone="Europe/Berlin",
    )

    assert here.zone.code == "US-CA"
    assert here.kind is PlaceKind.AWS
    assert (here.pue.value, here.uplift.value) == (1.15, 1.3)
    assert here.tariff.currency == "USD"
    assert here.life_s.value == pytest.approx(5 * 365.25 * 86400)
    assert str(here.timezone) == "Europe/Berlin"


def test_auto_takes_the_clouds_word():
    """With zone auto the metadata service decides zone, kind and, where unknown, that it is a server."""
    here = place("auto", cloud=CloudAnswer("gcp", "europe-north1", "FI", "n2-standard-4"))

    assert (here.zone.code, here.kind, here.chassis) == ("FI", PlaceKind.GCP, Chassis.SERVER)
    assert here.region == "gcp europe-north1"


def test_a_set_zone_ignores_the_cloud():
    """A zone that the user names stands, and the cloud is not heard."""
    here = place("SE", chassis="laptop", cloud=CloudAnswer("gcp", "europe-north1", "FI"))

    assert (here.zone.code, here.kind, here.region) == ("SE", PlaceKind.DESK, "")


@pytest.mark.parametrize(
    ("zone", "cloud", "why"),
    [
        (None, None, "no zone is set"),
        ("unknown", None, "no zone is set"),
        (" ", None, "no zone is set"),
        ("auto", None, "no cloud was asked"),
        ("auto", CloudAnswer(why="no service"), "no service"),
        ("auto", CloudAnswer("aws", "eu-moon-1", why="not in the catalogue"), "not in the catalogue"),
    ],
)
def test_unknown_zone(zone, cloud, why):
    """A zone that is not known stays unknown, with the reason."""
    here = place(zone, cloud=cloud)

    assert here.zone is None
    assert why in here.zone_unknown


def test_unknown_tariff():
    """Without a tariff there is none, and the reason says how to set one."""
    assert place("DE").tariff is None
    assert "tariff =" in place("DE").tariff_unknown
    assert place("DE", tariff="0.3EUR").tariff_unknown == ""


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"zone": "Germny"}, UnknownName, "did you mean Germany"),
        ({"kind": "azur"}, UnknownName, "unknown kind of place 'azur'; did you mean azure"),
        ({"chassis": "tower"}, UnknownName, "known are laptop, desktop"),
        ({"timezone": "Berlin"}, UsageError, "unknown time zone 'Berlin'"),
        ({"timezone": "../etc/passwd"}, UsageError, "unknown time zone"),
        ({"tariff": "0.3"}, UsageError, "as a price"),
        ({"pue_value": 0.5}, UsageError, "PUE is 0.5"),
    ],
)
def test_bad_settings(arguments, error, text):
    """A setting that cannot be is refused in one line."""
    with pytest.raises(error, match=text):
        place(**arguments)
