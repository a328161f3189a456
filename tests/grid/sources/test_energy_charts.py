"""Energy-Charts: the contract, and what is its own."""

from __future__ import annotations

import pytest

from joulewise.grid.sources.energy_charts import EnergyCharts
from joulewise.testing.grid_contract import NOW, SourceContract, SourceRig

pytest.importorskip("httpx", reason="asking services needs the extra 'online'")


class TestEnergyCharts(SourceContract):
    @pytest.fixture
    def rig(self, services, fetcher):
        return SourceRig(EnergyCharts(fetcher, services.base("energy_charts")), "DE", has_prices=True)

    def test_a_country_without_prices(self, rig):
        """A country that has no bidding zone here has no prices, and no question is asked."""
        assert rig.source.prices("UA", NOW, NOW) is None

    def test_the_forecast_begins_where_the_actual_values_end(self, rig):
        """No hour has both: the forecast starts after the last actual quarter hour."""
        assert rig.source.ahead("DE").start_utc == NOW.replace(minute=15)
