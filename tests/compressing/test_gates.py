"""The gates let pass what is certain, and nothing else."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.compressing.gates import Outcome, Span, break_even, energy_gate, interval, quality_gate


@pytest.mark.parametrize(
    ("drop", "outcome"),
    [
        (Span(0.002, 0.001, 0.004), Outcome.PASSES),
        (Span(0.002, -0.001, 0.006), Outcome.CANNOT_TELL),  # the best guess is within, its noise is not
        (Span(0.02, 0.01, 0.03), Outcome.FAILS),
        (Span(-0.01, -0.02, 0.0), Outcome.PASSES),  # better than fp32
        (Span(0.002, 0.0, 0.005), Outcome.PASSES),  # just as much as is allowed
    ],
)
def test_quality(drop, outcome):
    """A drop passes if all of its interval is allowed, fails if none of it is, and else cannot be told."""
    gate = quality_gate("accuracy", 0.9, drop, 0.005, points=True)

    assert gate.outcome is outcome
    assert gate.passes is (outcome is Outcome.PASSES)
    assert "0.50" in gate.why


def test_quality_of_an_error_is_in_its_own_unit():
    """The drop of an error is no percentage."""
    gate = quality_gate("rmse", 12.0, Span(1.5, 1.2, 1.9), 0.06, points=False)

    assert gate.why == "rmse drops by 1.5 (1.2 to 1.9) from 12; at most 0.06 is allowed"


@pytest.mark.parametrize(
    ("ratios", "outcome"),
    [
        ({1: [0.5] * 9, 32: [0.6] * 9}, Outcome.PASSES),
        ({1: [1.2] * 9, 32: [1.3] * 9}, Outcome.FAILS),
        ({1: [0.5] * 9, 32: [1.2] * 9}, Outcome.FAILS),  # whoever asks in batches of 32 would pay for it
        ({1: [0.8, 1.3, 0.9, 1.2, 0.95, 1.1, 1.0, 0.7, 1.4]}, Outcome.CANNOT_TELL),
        ({1: [0.8] * 8 + [30.0]}, Outcome.PASSES),  # one disturbed round is one round
        ({1: [1.0] * 9}, Outcome.FAILS),  # what saves nothing is not worth a second file
    ],
)
def test_energy(ratios, outcome):
    """A variant must certainly save over all sizes, and at none may it certainly cost more."""
    assert energy_gate(ratios, "CPU time").outcome is outcome


def test_energy_tells_the_size():
    """The reason names the size at which it costs more, and what was counted."""
    gate = energy_gate({1: [0.5] * 9, 32: [1.2] * 9}, "joules")

    assert gate.why == (
        "it costs more than fp32 at batch 32; joules of a request beside fp32: 0.50x (0.50 to 0.50) at batch 1, "
        "1.20x (1.20 to 1.20) at batch 32"
    )


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40))
def test_interval_holds_the_median(values):
    """The interval of rounds holds their median and lies within their range."""
    span = interval(values)

    assert min(values) <= span.low <= span.value <= span.high <= max(values)


def test_interval_is_ninety_percent_at_least():
    """Of nine rounds the second and the eighth: both lie on one side of the true median in 3.9 % of cases."""
    assert interval([9, 1, 8, 2, 7, 3, 6, 4, 5]) == Span(5, 2, 8)
    assert interval([3, 1, 2]) == Span(2, 1, 3)


def test_break_even():
    """What was spent is saved after spent / saved requests, never if nothing is saved."""
    assert break_even(5200.0, 0.004, 0.0014) == pytest.approx(2_000_000)
    assert break_even(1.0, 0.001, 0.001) == inf
