"""What to try next."""

from __future__ import annotations

import numpy as np

from joulewise.searching.proposing import by_density, candidates, first_points
from joulewise.searching.space import Choice, Float, Space

SPACE = Space(
    {"x": Float(0, 1), "y": Float(0, 1), "c": Choice(("a", "b")), "z": Float(0, 1, when={"c": ("a",)})}
)


def test_first_points():
    """The first is the centre; the rest fill each coordinate evenly, one point a stretch."""
    points = first_points(SPACE, 9, seed=3)

    assert (points[0] == 0.5).all()
    for column in points[1:].T:
        assert sorted((column * 8).astype(int)) == list(range(8))


def test_density_goes_where_good_trials_are():
    """Points by density lie nearer to the good trials than chance has it."""
    rng = np.random.default_rng(0)
    points = rng.random((40, 4))
    scores = -np.abs(points[:, 0] - 0.2)

    drawn = by_density(SPACE, points, scores, rng, 50)

    assert np.abs(drawn[:, 0] - 0.2).mean() < 0.18  # 0.34 by chance


def test_inside():
    """Every candidate lies in the unit cube, even near points at its edge and without a coordinate."""
    rng = np.random.default_rng(0)
    points = np.array([[0.0, 1.0, 0.75, np.nan], [1.0, 0.0, 0.25, 0.99]] * 4)

    drawn = candidates(SPACE, points, np.arange(8.0), rng, 100)

    assert len(drawn) == 100
    assert ((drawn >= 0) & (drawn <= 1)).all()
