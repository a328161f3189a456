from __future__ import annotations

from dataclasses import replace

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
