"""Electricity Maps: the contract, and what is its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joulewise.grid.sources.electricity_maps import ElectricityMaps
from joulewise.testing.grid import KEY
from joulewise.testing.grid_contract import NOW, SourceContract, SourceRig
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Factors

pytest.importorskip("httpx", reason="asking services needs the extra 'online'")


class TestElectricityMaps(SourceContract):
    @pytest.fixture
    def rig(self, services, fetcher):
        return SourceRig(
            ElectricityMaps(fetcher, KEY, services.base("electricity_maps")),
            "DE",
            has_prices=True,
            secrets=(KEY,),
        )

    def test_estimates_are_marked(self, rig):
        """Hours that the provider estimated are marked, one a day here."""
        past = rig.source.past("DE", NOW - timedelta(hours=48), NOW)

        assert {t.hour for t, p in zip(past.times(), past.points, strict=True) if p.estimated} == {3}

    def test_the_caller_is_never_looked_up(self, rig, services):
        """Every question switches the look-up by address off, and names the zone as the service does."""
        rig.source.past("US-CA", NOW - timedelta(hours=48), NOW)
        rig.source.ahead("US-CA")

        assert all(
            "disableCallerLookup=true" in path and "zone=US-CAL-CISO" in path for path in services.requests
        )

    def test_the_last_day_is_history(self, rig, services):
        """The last day is asked as history, which free plans may ask."""
        rig.source.past("DE", NOW - timedelta(hours=20), NOW)

        assert all("/carbon-intensity/history?" in path for path in services.requests)

    def test_a_wrong_key(self, services, fetcher):
        """A wrong key is said in words, without the key."""
        source = ElectricityMaps(fetcher, "wrong-key", services.base("electricity_maps"))

        with pytest.raises(GridError, match="does not know this key") as caught:
            source.ahead("DE")
        assert "wrong-key" not in str(caught.value)

    def test_direct_factors(self, services, fetcher):
        """Direct factors are asked for and said."""
        source = ElectricityMaps(fetcher, KEY, services.base("electricity_maps"), Factors.DIRECT)

        ahead = source.ahead("DE")
        assert ahead is not None
        assert ahead.meaning.factors is Factors.DIRECT
        assert "emissionFactorType=direct" in services.requests[-1]

    def test_prices_reach_to_the_end_of_tomorrow(self, rig, services):
        """A week behind and two days ahead are two questions, without factors, and end where the auction did."""
        prices = rig.source.prices("DE", NOW - timedelta(days=7), NOW + timedelta(days=5))

        assert prices.start_utc == NOW.replace(minute=0) + timedelta(hours=1) - timedelta(days=7)
        assert prices.end_utc == NOW.replace(hour=0, minute=0) + timedelta(days=2)
        assert prices.meaning.unit == "EUR/kWh"
        asked = [path for path in services.requests if "price-day-ahead" in path]
        assert [path.partition("?")[0].rpartition("/")[2] for path in asked] == ["forecast", "past-range"]
        assert not any("emissionFactorType" in path for path in asked)

    def test_long_ranges_of_prices_are_asked_in_parts(self, rig, services):
        """More than ten days are asked ten days at a time."""
        prices = rig.source.prices("DE", NOW - timedelta(days=25), NOW - timedelta(days=1))

        assert prices.gaps == 0
        assert len([path for path in services.requests if "price-day-ahead" in path]) == 3

    def test_no_price_of_the_coming_hours(self, rig):
        """Where the market knows nothing of the hours asked there is no signal, so that the next service is asked."""
        assert rig.source.prices("DE", NOW + timedelta(days=4), NOW + timedelta(days=5)) is None

    @pytest.mark.parametrize("unit", ["EUR/kWh", "cent", None])
    def test_a_price_of_another_unit_is_refused(self, rig, monkeypatch, unit):
        """Prices in a unit that is not documented are a fault of one line, never a number."""
        answer = {"data": [{"datetime": f"{NOW:%Y-%m-%dT%H}:00:00Z", "value": 30, "unit": unit}]}
        monkeypatch.setattr(rig.source, "_answer", lambda *_: answer)

        with pytest.raises(GridError, match="where EUR/MWh or the like belongs"):
            rig.source.prices("DE", NOW.replace(minute=0), NOW + timedelta(hours=6))
