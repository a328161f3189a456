"""How would a trial end? A Gaussian process over settings and epochs, with its interval: freeze-thaw.

Swersky, Snoek and Adams, "Freeze-Thaw Bayesian Optimization" (2014), with a sum of kernels in place of their
exponential decay, because curves that fall again (over-training, divergence) are what a search meets, too:

    k = m2 kt  +  a2 kx  +  b2 kx kt  +  [same trial] (c2 + d2 kt)  +  [same point] s2

kx is Matern 5/2 over the settings with a length a feature, kt squared exponential over s = log(epoch) / log(epochs).
The first term is the common shape of all curves, a and b what the settings say about level and shape, c and d what
only the trial itself can tell. A trial's own epochs thus pull its forecast, and the forecasts of its neighbours.

Values are warped first, -log(1 + (top - y) / delta), so that the differences between good trials count and a
diverged one does not swallow the scale. The lengths and variances are those of the greatest posterior density, by
a few steps of Adam from where the last fit ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from joulewise.searching.history import Trial
from joulewise.searching.space import Vector

_SHARED = 7  # log m2, a2, b2, c2, d2, s2, length over s
_PRIOR = np.log([0.5, 0.5, 0.3, 0.1, 0.05, 0.005, 0.5])
_PRIOR_SD = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5])
_LENGTH, _LENGTH_SD = np.log(0.8), 0.9
_FIT_POINTS = 160  # more would only slow the fit; the forecast uses all
_MOST_POINTS = 400
_JITTER = 1e-6
_SMALL = 32  # rows below which halving gains nothing


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """The logarithms of variances and lengths: shared ones first, then a length a feature."""

    theta: Vector

    @classmethod
    def first(cls, features: int) -> Beliefs:
        """Return what is believed before anything was seen."""
        return cls(np.concatenate([_PRIOR, np.full(features, _LENGTH)]))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Points of curves: which row of `features` each belongs to, where in time, and its warped value."""

    features: Vector
    row: Vector
    time: Vector
    value: Vector

    def with_points(self, row: Vector, time: Vector, value: Vector) -> Seen:
        """Return these points and further ones."""
        return Seen(
            self.features,
            np.concatenate([self.row, row]),
            np.concatenate([self.time, time]),
            np.concatenate([self.value, value]),
        )


@dataclass(frozen=True, slots=True)
class Warp:
    """The scale on which values are compared: the best is at `top`, `delta` is what counts as a step."""

    top: float
    delta: float
    mean: float
    spread: float

    def __call__(self, value: Vector) -> Vector:
        """Return warped values, standardised; values above the top go on in a straight line."""
        gap = (self.top - value) / self.delta
        warped = np.where(gap >= 0, -np.log1p(np.maximum(gap, 0.0)), -gap)
        return np.asarray((warped - self.mean) / self.spread)

    def back(self, warped: Vector) -> Vector:
        """Return the values that `warped` stands for."""
        raw = warped * self.spread + self.mean
        gap = np.where(raw <= 0, np.expm1(np.maximum(-raw, 0.0)), -raw)
        return np.asarray(self.top - gap * self.delta)


def warp_of(values: Vector) -> Warp:
    """Return the scale for values: a step is half of what lies between the median and the best."""
    top = float(values.max())
    delta = max(0.5 * (top - float(np.median(values))), 1e-9 * max(1.0, abs(top)), 1e-12)
    raw = -np.log1p((top - values) / delta)
    return Warp(top, delta, float(raw.mean()), max(float(raw.std()), 1e-3))


def rungs_seen(epochs: int) -> tuple[int, ...]:
    """Return the epochs whose values the model sees: each step about 1.4 times the last, the first three all."""
    seen, at = [], 1.0
    while at < epochs:
        seen.append(round(at))
        at = max(at * 1.4, at + 1)
    return (*seen, epochs)


def see(
    trials: Sequence[Trial],
    features: Vector,
    epochs: int,
    warp: Warp,
    position: Callable[[int], float] | None = None,
) -> Seen:
    """Return the points of the trials' curves that the model looks at: the rungs, and each trial's last epoch.

    `position` says where an epoch lies between 0 and the end, 1; unless given, by its logarithm.
    """
    where = position or (lambda epoch: float(np.log(epoch) / np.log(epochs)) if epochs > 1 else 1.0)
    marks = rungs_seen(epochs)
    row, time, value = [], [], []
    for index, trial in enumerate(trials):
        last = trial.epoch
        reached = [epoch for epoch in marks if epoch < last]
        for epoch in (*reached, last) if last else ():
            row.append(index)
            time.append(where(epoch))
            value.append(trial.values[epoch - 1])
    if len(row) > _MOST_POINTS:  # keep every trial's last point, thin the rest from the front
        ends = {r: i for i, r in enumerate(row)}
        keep = sorted({*ends.values(), *range(max(0, len(row) - _MOST_POINTS + len(ends)), len(row))})
        row, time, value = ([part[i] for i in keep] for part in (row, time, value))
    return Seen(features, np.array(row, dtype=float), np.array(time), warp(np.array(value)))


@final
class CurveModel:
    """The forecast given what was seen and believed."""

    def __init__(self, seen: Seen, beliefs: Beliefs) -> None:
        self._seen = seen
        self._theta = beliefs.theta
        self._row = seen.row.astype(int)
        k = _kernel(self._theta, seen.features, self._row, seen.time)
        self._whiten = _inverse(np.asarray(np.linalg.cholesky(k), dtype=float))
        self._weights = self._whiten.T @ (self._whiten @ seen.value)

    def forecast(self, features: Vector, time: Vector, row: Vector) -> tuple[Vector, Vector]:
        """Return mean and standard deviation (warped) at `time` of settings; `row` is the trial's row, -1 if new."""
        m2, a2, b2, c2, d2, _s2, _ = np.exp(self._theta[:_SHARED])
        times, of = np.unique(time, return_inverse=True)  # most often one: the end
        kt = _over_time(self._theta, times, self._seen.time)[of]
        kx = _over_settings(self._theta, features, self._seen.features)[:, self._row]
        same = row[:, None] == self._row[None, :]
        cross = m2 * kt + a2 * kx + b2 * kx * kt + same * (c2 + d2 * kt)
        half = self._whiten @ cross.T
        prior = m2 + a2 + b2 + c2 + d2
        return cross @ self._weights, np.sqrt(np.maximum(prior - (half**2).sum(0), 1e-8))


def fit(seen: Seen, beliefs: Beliefs, steps: int) -> Beliefs:
    """Return beliefs of greater posterior density, by `steps` steps of Adam from `beliefs`."""
    if len(seen.value) > _FIT_POINTS:
        keep = np.linspace(0, len(seen.value) - 1, _FIT_POINTS).astype(int)
        seen = Seen(seen.features, seen.row[keep], seen.time[keep], seen.value[keep])
    theta = beliefs.theta.copy()
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(1, steps + 1):
        slope = _slope(theta, seen)
        first = 0.8 * first + 0.2 * slope
        second = 0.95 * second + 0.05 * slope**2
        move = (first / (1 - 0.8**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-6)
        theta = np.clip(theta + 0.12 * move, -9.0, 4.0)
    return Beliefs(theta)


def _slope(theta: Vector, seen: Seen) -> Vector:
    """Return the slope of the log posterior density: tr((w w' - K^-1) dK) / 2, and the priors' part."""
    rows = seen.row.astype(int)
    m2, a2, b2, c2, d2, s2, length = np.exp(theta[:_SHARED])
    kt = _over_time(theta, seen.time, seen.time)
    scaled = seen.features / np.exp(theta[_SHARED:])
    gap2 = _gaps2(scaled, scaled)
    r = np.sqrt(5.0 * gap2)
    fading = np.exp(-r)
    kx = ((1 + r + 5.0 * gap2 / 3) * fading)[np.ix_(rows, rows)]
    inner = ((5.0 / 3) * (1 + r) * fading)[
        np.ix_(rows, rows)
    ]  # dkx / d(log length) = inner * gap2 of the feature
    same = (rows[:, None] == rows[None, :]).astype(float)
    k = m2 * kt + a2 * kx + b2 * kx * kt + same * (c2 + d2 * kt)
    k[np.diag_indices_from(k)] += s2 + _JITTER
    inverse = np.linalg.inv(k)
    weights = inverse @ seen.value
    w = 0.5 * (np.outer(weights, weights) - inverse)
    dt = kt * ((seen.time[:, None] - seen.time[None, :]) / length) ** 2
    slope = np.empty_like(theta)
    slope[0] = m2 * (w * kt).sum()
    slope[1] = a2 * (w * kx).sum()
    slope[2] = b2 * (w * kx * kt).sum()
    slope[3] = c2 * (w * same).sum()
    slope[4] = d2 * (w * same * kt).sum()
    slope[5] = s2 * np.trace(w)
    slope[6] = (w * (m2 + b2 * kx + d2 * same) * dt).sum()
    pull = w * (a2 + b2 * kt) * inner
    count = len(scaled)  # the pull of points, added up by the trials that they belong to
    onto = np.bincount(
        (rows[:, None] * count + rows[None, :]).ravel(), pull.ravel(), minlength=count * count
    ).reshape(count, count)
    for feature in range(scaled.shape[1]):
        column = scaled[:, feature]
        slope[_SHARED + feature] = (onto * (column[:, None] - column[None, :]) ** 2).sum()
    slope[:_SHARED] -= (theta[:_SHARED] - _PRIOR) / _PRIOR_SD**2
    slope[_SHARED:] -= (theta[_SHARED:] - _LENGTH) / _LENGTH_SD**2
    return slope


def _kernel(theta: Vector, features: Vector, rows: Vector, time: Vector) -> Vector:
    m2, a2, b2, c2, d2, s2, _ = np.exp(theta[:_SHARED])
    kt = _over_time(theta, time, time)
    index = rows.astype(int)
    kx = _over_settings(theta, features, features)[np.ix_(index, index)]
    k = m2 * kt + a2 * kx + b2 * kx * kt + (index[:, None] == index[None, :]) * (c2 + d2 * kt)
    k[np.diag_indices_from(k)] += s2 + _JITTER
    return np.asarray(k)


def _inverse(low: Vector) -> Vector:
    """Return the inverse of a lower triangular matrix, by halves: mostly products, a fifth of what numpy's solve takes."""
    if len(low) <= _SMALL:
        return np.asarray(np.linalg.inv(low))
    half = len(low) // 2
    upper, lower = _inverse(low[:half, :half]), _inverse(low[half:, half:])
    whole = np.zeros_like(low)
    whole[:half, :half], whole[half:, half:] = upper, lower
    whole[half:, :half] = -(lower @ low[half:, :half]) @ upper
    return whole


def _over_time(theta: Vector, one: Vector, other: Vector) -> Vector:
    length = np.exp(theta[_SHARED - 1])
    return np.asarray(np.exp(-0.5 * ((one[:, None] - other[None, :]) / length) ** 2))


def _over_settings(theta: Vector, one: Vector, other: Vector) -> Vector:
    lengths = np.exp(theta[_SHARED:])
    gap2 = _gaps2(one / lengths, other / lengths)
    r = np.sqrt(5.0 * gap2)
    return np.asarray((1 + r + 5.0 * gap2 / 3) * np.exp(-r))


def _gaps2(one: Vector, other: Vector) -> Vector:
    gap2 = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.asarray(np.maximum(gap2, 0.0))
