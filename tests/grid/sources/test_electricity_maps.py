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
            ElectricityMaps(fetcher, KEY, services.base("electricity_maps")), "DE", secrets=(KEY,)
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
