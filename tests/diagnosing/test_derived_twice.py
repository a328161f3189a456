"""Columns that another view derives as well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing import diagnose
from tests.diagnosing.views import case


def found(**params):
    """Return the findings of a materialisation of 100 s that noted these facts."""
    laid = case()
    recording = replace(laid.recording, params={"view": "spend", "rows": 7, "full": False, **params})
    return diagnose(recording, (), laid.account)


def test_share_of_the_columns():
    """A third of the columns is about a third of the run; a view that is another one as a whole is not needed at all."""
    part = found(derived_also="basket.n", derived_share=1 / 3)[0]
    whole = found(derived_also="basket.n, basket.total", derived_share=1.0)[0]

    assert part.saving.cpu_s.value == pytest.approx(100 / 3)
    assert part.saving.cpu_s.low < 10
    assert whole.saving.cpu_s.low == pytest.approx(100)
    assert "view spend derives what basket.n derives" in part.evidence


@pytest.mark.parametrize("params", [{}, {"derived_also": "a.b"}, {"derived_also": "", "derived_share": 0.5}])
def test_nothing_to_say(params):
    """Without the columns and their share nothing is named."""
    assert found(**params) == ()
