"""EIA: the contract, and what its format does to us."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joulewise.grid.sources.eia import Eia
from joulewise.testing.grid import KEY
from joulewise.testing.grid_contract import NOW, SourceContract, SourceRig
from joulewise.vocabulary.errors import GridError

pytest.importorskip("httpx", reason="asking services needs the extra 'online'")


class TestEia(SourceContract):
    @pytest.fixture
    def rig(self, services, fetcher):
        return SourceRig(
            Eia(fetcher, KEY, services.base("eia")),
            "US-CA",
            has_ahead=False,
            exact_to=0.1,
            lag=timedelta(hours=25),
            secrets=(KEY,),
        )

    def test_lag(self, rig):
        """Values count as known a day after their hour."""
        past = rig.source.past("US-CA", NOW - timedelta(days=3), NOW)

        assert past.lag_s == 86400
        assert past.known_at(NOW).end_utc <= NOW - timedelta(days=1)

    def test_the_respondent(self, rig, services):
        """California is asked as the balancing authority CISO."""
        rig.source.past("US-CA", NOW - timedelta(days=3), NOW)

        assert "CISO" in services.requests[-1]

    def test_a_wrong_key(self, services, fetcher):
        """A wrong key is said in words."""
        with pytest.raises(GridError, match="403"):
            Eia(fetcher, "nope", services.base("eia")).past("US-CA", NOW - timedelta(days=3), NOW)
