"""The Pareto front of quality and energy: which trainings nothing cheaper beats, and what a further one would add.

A point is (joules of a full training, value; more is better). The front is a staircase: front(e) is the best value
that e joules buy, and its hypervolume the area under it, from the reference's value up and to its joules. A training of E
joules that ends at y adds the area between y and the staircase to the right of E; over the forecast's distribution:

    growth = sum over steps k of  width of step k right of E  x  E[max(0, y - level_k)]

which is the expected hypervolume improvement where the joules are known (Emmerich, Giannakoglou and Naujoks, 2006).
y is normal on the warped scale only, so the expectation is a sum over that scale, from -3 to 6 standard deviations: small
chances of much are what is compared late in a search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from joulewise.searching.space import Vector

Point = tuple[float, float]
_Z = np.linspace(-3.0, 6.0, 37)
_WEIGHTS = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other one beats in both, cheapest first."""
    kept: list[Point] = []
    for energy, value in sorted(points, key=lambda p: (p[0], -p[1])):
        if not kept or value > kept[-1][1]:
            kept.append((energy, value))
    return tuple(kept)


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the area under the front: up to the reference's joules, from its value up."""
    edges, levels = _steps(points, reference)
    return float((np.diff(edges) * (levels - reference[1])).sum())


def expected_growth(
    mean: Vector,
    spread: Vector,
    energy_j: Vector,
    points: Sequence[Point],
    reference: Point,
    back: Callable[[Vector], Vector],
) -> Vector:
    """Return by how much the hypervolume is expected to grow, for trainings of `energy_j` with a forecast of their end.

    `mean` and `spread` are on the warped scale; `back` leads from there to values.
    """
    edges, levels = _steps(points, reference)
    ends = back(mean[:, None] + spread[:, None] * _Z[None, :])
    above = np.maximum(ends[:, :, None] - levels[None, None, :], 0.0)
    gained = np.einsum("iqk,q->ik", above, _WEIGHTS)
    widths = np.maximum(edges[None, 1:] - np.maximum(edges[None, :-1], energy_j[:, None]), 0.0)
    return np.asarray((gained * widths).sum(1))


def _steps(points: Sequence[Point], reference: Point) -> tuple[Vector, Vector]:
    """Return the staircase: edges in joules, and the level between each two of them."""
    stairs = [(e, v) for e, v in front(points) if e < reference[0] and v > reference[1]]
    edges = np.array([0.0, *(e for e, _ in stairs), reference[0]])
    return edges, np.array([reference[1], *(v for _, v in stairs)])
