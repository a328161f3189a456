"""WattTime: the contract, and what is its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joulewise.grid.sources.watttime import WattTime
from joulewise.testing.grid import KEY, LOGIN
from joulewise.testing.grid_contract import NOW, SourceContract, SourceRig
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Kind

pytest.importorskip("httpx", reason="asking services needs the extra 'online'")


class TestWattTime(SourceContract):
    @pytest.fixture
    def rig(self, services, fetcher):
        return SourceRig(WattTime(fetcher, LOGIN, services.base("watttime")), "US-CA", secrets=(KEY, LOGIN))

    def test_marginal(self, rig):
        """Values are marginal and never pass for an average."""
        assert rig.source.ahead("CAISO_NORTH").meaning.kind is Kind.MARGINAL

    def test_a_token_that_ran_out(self, rig, services, clock):
        """When the token has run out, one new login is made and the answer comes."""
        rig.source.ahead("CAISO_NORTH")
        services.tokens.clear()
        clock.sleep(3600)

        assert rig.source.ahead("CAISO_NORTH") is not None
        assert sum("/login" in path for path in services.requests) == 2

    def test_one_login_for_many_questions(self, rig, services):
        """The token is kept in memory and used again."""
        rig.source.past("CAISO_NORTH", NOW - timedelta(days=60), NOW)

        assert sum("/login" in path for path in services.requests) == 1

    def test_a_wrong_login(self, services, fetcher):
        """A wrong login is one line without name or password."""
        source = WattTime(fetcher, "somebody:wrong", services.base("watttime"))

        with pytest.raises(GridError, match="403") as caught:
            source.ahead("CAISO_NORTH")
        assert "wrong" not in str(caught.value)
