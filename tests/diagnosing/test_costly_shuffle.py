from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.observed import Phase, PhaseTotal
from tests.diagnosing.test_slow_transforms import LOADER
from tests.diagnosing.views import causes, found, phases, view

STEPS = phases(forward=20.0, backward=20.0, optimiser=20.0)


def test_sampler():
    """What the sampler took beyond a permutation of indices is saved."""
    slow = replace(LOADER, index_s=30.0, same_items=0)
    assert found(view(steps=470, loaders=(slow,), phases=STEPS))[0].cause == "costly_shuffle"


def test_healthy():
    """A permutation of indices costs next to nothing."""
    assert causes(view(steps=470, loaders=(replace(LOADER, same_items=0),), phases=STEPS)) == []


def test_beside_neighbours():
    """The sampler is timed by the wall clock; on a busy machine its CPU time is what the data phase used beside the items."""
    starved = (PhaseTotal(Phase.DATA, 470, 100.0, 12.0), *phases(forward=20.0, backward=20.0, optimiser=20.0))
    slow = replace(LOADER, index_s=90.0, fetch_cpu_s=2.0, same_items=0)
    (finding,) = found(view(steps=470, loaders=(slow,), phases=starved, cpu_s=72.0))

    assert finding.saving.cpu_s.value == pytest.approx((90.0 - 0.003) * 0.12)
