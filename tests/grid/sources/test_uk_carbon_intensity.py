"""The UK Carbon Intensity API: the contract, and what is its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joulewise.grid.sources.uk_carbon_intensity import UkCarbonIntensity
from joulewise.testing.grid_contract import NOW, SourceContract, SourceRig
from joulewise.vocabulary.signal import Factors

pytest.importorskip("httpx", reason="asking services needs the extra 'online'")


class TestUkCarbonIntensity(SourceContract):
    @pytest.fixture
    def rig(self, services, fetcher):
        return SourceRig(UkCarbonIntensity(fetcher, services.base("uk")), "GB")

    def test_the_running_half_hour(self, rig):
        """The window that begins before the running half hour is cut to it."""
        ahead = rig.source.ahead("GB")

        assert ahead.start_utc == NOW.replace(minute=0)
        assert ahead.meaning.factors is Factors.DIRECT
        assert len(ahead) >= 95

    def test_a_region_has_estimates_only(self, rig, services):
        """A region has no actual values: its forecasts of the past are taken and marked as estimates."""
        past = rig.source.past("GB-13", NOW - timedelta(hours=24), NOW)

        assert past.gaps == 0
        assert past.estimated_share == 1
        assert "/regionid/13" in services.requests[-1]
        assert not rig.source.covers("GB-18")
        assert not rig.source.covers("FR")
