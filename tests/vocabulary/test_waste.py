"""The five wastes: every cause has one, and a run's parts add up to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Cause, Finding, Remedy, RemedyKind, Saving
from joulewise.vocabulary.waste import WASTE_OF, Part, Waste, divide


def finding(cause: Cause, share: float, arm: float = 0.1) -> Finding:
    saved = Figure(100 * share, max(0.0, 100 * (share - arm)), 100 * (share + arm), Basis.MODELLED)
    saving = Saving(saved, saved, share, share, energy_j=saved, energy_share=share)
    return Finding(cause, "seen", saving, Remedy(RemedyKind.SETTING, "do"), "none")


def test_every_cause_has_its_waste():
    """No cause is without one of the five."""
    assert set(WASTE_OF) == set(Cause)
    assert set(WASTE_OF.values()) == set(Waste)


def test_nothing_found():
    """A run without a finding went to no waste."""
    assert divide([]) == {None: Part(1.0, 1.0, 1.0)}


def test_overlap_counts_once():
    """Half for over-training and half of validation: three quarters together, the first whole, the second of what is left."""
    parts = divide([finding(Cause.SMALL_BATCH, 0.5), finding(Cause.OVER_TRAINING, 0.5)])

    assert parts[None].share == pytest.approx(0.25)
    assert sum(p.share for p in parts.values()) == pytest.approx(1)
    assert parts[Waste.UNDERUSED_HARDWARE].high == pytest.approx(0.6)
    assert parts[Waste.OVER_TRAINING].low == pytest.approx(0.4 * 0.4)


def test_two_causes_of_one_waste():
    """Causes of one waste are one part."""
    parts = divide([finding(Cause.OVER_TRAINING, 0.5, 0), finding(Cause.VALIDATION_TOO_OFTEN, 0.2, 0)])

    part = parts[Waste.OVER_TRAINING]
    assert (part.share, part.low, part.high) == pytest.approx((0.6, 0.6, 0.6))


def test_a_server_that_polls_stands_by_once():
    """A polling server's finding is part of its standing by, not added to it."""
    idle = Part(0.8, 0.7, 0.9)
    parts = divide([finding(Cause.BUSY_IDLE_SERVICE, 0.5)], idle)

    assert parts[Waste.ALWAYS_ON_SERVING].share == pytest.approx(0.8)
    assert parts[None].share == pytest.approx(0.2)


@given(st.lists(st.tuples(st.sampled_from(Cause), st.floats(0, 1), st.floats(0, 0.5)), max_size=6))
def test_parts_add_up(claims):
    """Whatever is found: parts and rest add up to the run, and every interval holds its share."""
    parts = divide([finding(*claim) for claim in claims])

    assert sum(p.share for p in parts.values()) == pytest.approx(1)
    assert all(0 <= p.low <= p.share <= p.high <= 1 for p in parts.values())
