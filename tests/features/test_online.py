"""What a store keeps of a view and its readers."""

from __future__ import annotations

import json

import pytest

from joulewise import features
from joulewise.features.online import ReadTally, ViewState
from joulewise.testing.online_contract import state


def test_state_as_json():
    """A state comes back from its JSON; what a newer joulewise added is left out."""
    one = state(derivations={"n": "x"}, sources={"e": "p"}, made_from=("e",))
    more = json.dumps({**json.loads(one.to_json()), "of_the_future": 1})

    assert ViewState.from_json(one.to_json()) == one == ViewState.from_json(more)


def test_tallies_add_up():
    """Two tallies of one reader are one, with the first and the last time."""
    one = ReadTally("v", "r", 1, 2, 3, 4.0, 9.0, "a", "b")

    assert one.plus(ReadTally("v", "r", 10, 20, 30, 40.0, 8.0, "c", "d")) == ReadTally(
        "v", "r", 11, 22, 33, 44.0, 8.0, "a", "d"
    )


def test_public_names():
    """Every public name of the room exists; another is refused as Python does."""
    pytest.importorskip("numpy")
    for name in features.__all__:
        assert getattr(features, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'viw'"):
        _ = features.viw
