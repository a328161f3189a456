"""Student's t."""

from __future__ import annotations

import pytest

from joulewise.vocabulary.student import t95

KNOWN = {
    1: 6.314,
    2: 2.920,
    10: 1.812,
    30: 1.697,
    40: 1.684,
    120: 1.658,
    10_000: 1.645,
}  # any statistician's table


@pytest.mark.parametrize(("freedom", "quantile"), KNOWN.items())
def test_against_tables(freedom, quantile):
    """The quantile is that of printed tables, below and above the degrees that are stored."""
    assert t95(freedom) == pytest.approx(quantile, abs=1.5e-3)
