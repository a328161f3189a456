"""ENTSO-E: the contract, and what its XML does to us."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joulewise.grid.sources.entsoe import Entsoe
from joulewise.testing.grid import KEY
from joulewise.testing.grid_contract import NOW, SourceContract, SourceRig
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Scope

pytest.importorskip("httpx", reason="asking services needs the extra 'online'")
HOUR = timedelta(hours=1)
SPACE = 'xmlns="urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"'


START = NOW.replace(minute=0) - 10 * HOUR


class Said:
    """A fetcher that answers one text."""

    def __init__(self, text) -> None:
        self._text = text

    def now_utc(self):
        return NOW

    def text(self, service, request, fresh_s):
        return self._text


def period(resolution, values, start=START, hours=4):
    points = "".join(
        f"<Point><position>{n}</position><quantity>{v}</quantity></Point>" for n, v in values.items()
    )
    end = start + hours * HOUR
    return (
        f"<Period><timeInterval><start>{start:%Y-%m-%dT%H:%MZ}</start><end>{end:%Y-%m-%dT%H:%MZ}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{points}</Period>"
    )


def document(*series):
    inside = "".join(
        f"<TimeSeries><MktPSRType><psrType>{kind}</psrType></MktPSRType><curveType>{curve}</curveType>{told}</TimeSeries>"
        for kind, curve, told in series
    )
    return f"<GL_MarketDocument {SPACE}>{inside}</GL_MarketDocument>"


def asked(text):
    source = Entsoe(Said(text), KEY)  # type: ignore[arg-type] # of a fetcher, what is used of it
    return source.past("DE", NOW - 20 * HOUR, NOW)


class TestEntsoe(SourceContract):
    @pytest.fixture
    def rig(self, services, fetcher):
        return SourceRig(
            Entsoe(fetcher, KEY, services.base("entsoe")),
            "DE",
            has_ahead=False,
            has_prices=True,
            exact_to=0.1,
            secrets=(KEY,),
        )

    def test_computed(self, rig):
        """The values are of production, computed from the mix; pumping and storage are left out."""
        past = rig.source.past("DE", NOW - timedelta(hours=24), NOW)

        assert past.meaning.scope is Scope.PRODUCTION
        assert past.lag_s == 3600

    def test_no_data_is_no_fault(self, rig):
        """The acknowledgement that there is nothing is an empty answer."""
        assert rig.source.past("DE", NOW, NOW + timedelta(hours=3)) is None


def test_repeated_points_are_filled():
    """Curve type A03 leaves out what repeats: coal stays on until the next point."""
    past = asked(
        document(
            ("B05", "A03", period("PT60M", {1: 100, 3: 300})),
            ("B19", "A01", period("PT60M", {1: 100, 2: 100, 3: 100, 4: 100})),
        )
    )

    coal, wind = 820, 11
    half, most = (coal + wind) / 2, (3 * coal + wind) / 4
    assert past.values == pytest.approx((half, half, most, most))


def test_mixed_resolutions():
    """Quarter hours of one fuel and hours of another meet in hours."""
    quarters = dict.fromkeys(range(1, 9), 100) | dict.fromkeys(range(9, 17), 300)
    past = asked(
        document(
            ("B05", "A01", period("PT15M", quarters)),
            ("B19", "A01", period("PT60M", {1: 100, 2: 100, 3: 100, 4: 100})),
        )
    )

    assert past.step_s == 3600
    assert past.values == pytest.approx(((820 + 11) / 2,) * 2 + ((3 * 820 + 11) / 4,) * 2)


def test_types_of_one_fuel_add_up():
    """Hard coal and coal gas are both coal and add up."""
    past = asked(
        document(
            ("B05", "A01", period("PT60M", {1: 100})),
            ("B03", "A01", period("PT60M", {1: 200})),
            ("B19", "A01", period("PT60M", {1: 300})),
        )
    )

    assert past.values == pytest.approx(((820 + 11) / 2,))


def test_an_hour_without_its_coal_is_a_gap():
    """A fuel that is not yet published makes its hours gaps: they would look clean."""
    past = asked(
        document(
            ("B05", "A01", period("PT60M", {1: 100, 2: 100})),
            ("B19", "A01", period("PT60M", {1: 100, 2: 100, 3: 100})),
        )
    )

    assert past.values == pytest.approx((415.5, 415.5, None))


def test_refused_documents():
    """Document types, unknown resolutions and refusals are one clear line."""
    refusal = (
        "<Acknowledgement_MarketDocument><Reason><code>B11</code></Reason></Acknowledgement_MarketDocument>"
    )
    for text, why in (
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (document(("B05", "A01", period("P1M", {1: 100}))), "resolution"),
        (refusal, "reason B11"),
    ):
        with pytest.raises(GridError, match=why):
            asked(text)
