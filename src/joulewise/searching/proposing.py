"""What to try next: points of the unit cube that are worth a look.

The first trials are the centre and a Latin hypercube. Later candidates come from three sources: anywhere, near the
best trials, and the densities of Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011; TPE): one
kernel density over the good trials, one over the rest, kept where their ratio is greatest.
"""

from __future__ import annotations

import numpy as np

from joulewise.searching.space import Choice, Space, Vector

GOOD = 0.2  # the share of trials that counts as good
_NEAR = 0.12  # of a range: how far from a good trial to look
_TRIES = 8  # draws for each point kept by density


def first_points(space: Space, count: int, seed: int) -> Vector:
    """Return the centre and a Latin hypercube of `count` - 1 points."""
    rng = np.random.default_rng(seed)
    rows = count - 1
    width = len(space.names)
    cube = np.empty((rows, width))
    for column in range(width):
        cube[:, column] = (rng.permutation(rows) + rng.random(rows)) / max(rows, 1)
    return np.vstack([np.full((1, width), 0.5), cube])


def candidates(
    space: Space, points: Vector, scores: Vector, rng: np.random.Generator, count: int = 200
) -> Vector:
    """Return about `count` points: half anywhere, a quarter near the best, a quarter by density."""
    width = len(space.names)
    anywhere = rng.random((count // 2, width))
    order = np.argsort(-scores, kind="stable")
    best = points[order[:5]]
    near = np.resize(best, (count // 4, width)) + rng.normal(0, _NEAR, (count // 4, width)) * rng.choice(
        [0.3, 1.0], (count // 4, 1)
    )
    near = _filled(near, rng)
    return np.vstack([anywhere, _moved(space, near, rng), by_density(space, points, scores, rng, count // 4)])


def by_density(space: Space, points: Vector, scores: Vector, rng: np.random.Generator, count: int) -> Vector:
    """Return `count` points where good trials are dense and others are not."""
    order = np.argsort(-scores, kind="stable")
    good = points[order[: max(2, round(GOOD * len(points)))]]
    rest = points[order[len(good) :]]
    if not len(rest):
        return rng.random((count, len(space.names)))
    draws = good[rng.integers(0, len(good), count * _TRIES)]
    drawn = _moved(space, _filled(draws + rng.normal(0, _width(good), draws.shape), rng), rng)
    ratio = _log_density(space, drawn, good) - _log_density(space, drawn, rest)
    kept = np.argmax(ratio.reshape(count, _TRIES), axis=1)
    return np.asarray(drawn.reshape(count, _TRIES, -1)[np.arange(count), kept])


def _width(points: Vector) -> float:
    """Return the width of the kernels (Scott's rule, for coordinates spread over 0 to 1)."""
    return float(np.clip(0.3 * len(points) ** (-1 / (4 + points.shape[1])), 0.05, 0.3))


def _log_density(space: Space, where: Vector, points: Vector) -> Vector:
    """Return the log density at `where`; a coordinate that does not apply counts as even."""
    total = np.zeros((len(where), len(points)))
    width = _width(points)
    for column, parameter in enumerate(space.parameters.values()):
        one, other = where[:, column][:, None], points[:, column][None, :]
        if isinstance(parameter, Choice):
            k = len(parameter.values)
            same = np.floor(np.nan_to_num(one, nan=-1.0) * k) == np.floor(np.nan_to_num(other, nan=-2.0) * k)
            term = np.log(np.where(same, 0.6 + 0.4 / k, 0.4 / k))
        else:
            term = -0.5 * ((one - other) / width) ** 2 - np.log(width)
        total += np.nan_to_num(term, nan=0.0)
    top = total.max(1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(total - top).sum(1) / len(points)))


def _filled(points: Vector, rng: np.random.Generator) -> Vector:
    """Return points with a random value wherever a coordinate did not apply."""
    return np.where(np.isnan(points), rng.random(points.shape), points)


def _moved(space: Space, points: Vector, rng: np.random.Generator) -> Vector:
    """Return points mirrored back into the cube; one choice in five is drawn anew, a small step means nothing there."""
    inside = 1 - np.abs(1 - np.abs(points) % 2)
    for column, parameter in enumerate(space.parameters.values()):
        if isinstance(parameter, Choice):
            anew = rng.random(len(points)) < 0.2
            inside[anew, column] = rng.random(int(anew.sum()))
    return np.asarray(np.clip(inside, 0.0, 1.0 - 1e-12))
