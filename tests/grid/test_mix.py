"""From a fuel mix to intensity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.grid.mix import DIRECT, LIFECYCLE, STORAGE, intensity
from joulewise.vocabulary.signal import Factors


@pytest.mark.parametrize(
    ("mix", "lifecycle", "direct"),
    [
        ({"coal": 1.0}, 820, 1048),
        ({"coal": 1.0, "wind": 1.0}, 415.5, 524),
        ({"gas": 3.0, "nuclear": 1.0}, (3 * 490 + 12) / 4, 326.25),
        ({"gas": 1.0, "solar": -5.0, "storage": 9.0, "pumped": 9.0}, 490, 435),
        ({"unheard of": 1.0}, 700, 575),
        ({"gas": 1.0, "coal": None}, 490, 435),
    ],
)
def test_intensity(mix, lifecycle, direct):
    """Energies weigh their factors; storage, what draws power and what is not told do not count."""
    assert intensity(mix) == pytest.approx(lifecycle)
    assert intensity(mix, Factors.DIRECT) == pytest.approx(direct)


@pytest.mark.parametrize("mix", [{}, {"coal": 0.0}, {"coal": None}, {"storage": 3.0}, {"solar": -1.0}])
def test_nothing_generated(mix):
    """Without generation there is no intensity: unknown is not zero."""
    assert intensity(mix) is None


@given(
    st.dictionaries(st.sampled_from(sorted(LIFECYCLE)), st.floats(0.1, 1e5), min_size=1), st.floats(0.01, 100)
)
def test_a_mean(mix, scale):
    """The intensity lies between the factors of its fuels, and a mix twice as large has the same."""
    value = intensity(mix)

    assert value is not None
    assert min(LIFECYCLE[f] for f in mix) - 1e-6 <= value <= max(LIFECYCLE[f] for f in mix) + 1e-6
    assert intensity({f: e * scale for f, e in mix.items()}) == pytest.approx(value)


def test_tables():
    """Both tables know the same fuels, and no storage."""
    assert set(LIFECYCLE) == set(DIRECT)
    assert not set(LIFECYCLE) & STORAGE
