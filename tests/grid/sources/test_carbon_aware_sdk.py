"""The carbon-aware-sdk: the contract, and what is its own."""

from __future__ import annotations

import pytest

from joulewise.grid.sources.carbon_aware_sdk import CarbonAwareSdk
from joulewise.testing.grid_contract import SourceContract, SourceRig
from joulewise.vocabulary.signal import Factors, Kind, Meaning, Scope

pytest.importorskip("httpx", reason="asking services needs the extra 'online'")
MARGINAL = Meaning(Kind.MARGINAL, Factors.DIRECT, Scope.PRODUCTION)


class TestCarbonAwareSdk(SourceContract):
    @pytest.fixture
    def rig(self, services, fetcher):
        return SourceRig(CarbonAwareSdk(fetcher, services.base("sdk") + "/", Meaning()), "westeurope")

    def test_means_what_its_owner_says(self, services, fetcher):
        """The API does not say what it serves: the owner's word is taken."""
        ahead = CarbonAwareSdk(fetcher, services.base("sdk"), MARGINAL).ahead("eastus")

        assert ahead is not None
        assert ahead.meaning == MARGINAL
