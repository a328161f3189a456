"""A learning curve: the quality of a model at the steps at which it was evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from statistics import linear_regression

from joulewise.vocabulary.errors import UsageError

_MAD_TO_SD = 1.4826  # median absolute deviation to standard deviation, for a normal scatter
_SECOND_DIFFERENCE_SD = 6**0.5  # a second difference of independent errors has 6 times their variance


@dataclass(frozen=True, slots=True)
class Curve:
    """Values of one metric at rising steps (epochs, updates, samples: any unit that grows with the compute)."""

    steps: tuple[float, ...]
    values: tuple[float, ...]
    higher_is_better: bool

    def __post_init__(self) -> None:
        """Refuse steps that do not rise, or as many values as there are not steps."""
        if len(self.steps) != len(self.values):
            raise UsageError(
                f"a curve of {len(self.steps)} steps has {len(self.values)} values; give one for each"
            )
        if self.steps and not self.steps[0] >= 0:
            raise UsageError(f"step is {self.steps[0]:g}, but must be at least 0")
        if self.steps and self.steps[-1] == inf:
            raise UsageError("step is inf, but must be finite")
        for one, other in pairwise(self.steps):
            if not one < other:
                raise UsageError(
                    f"step {other:g} follows step {one:g}; steps must rise from one evaluation to the next"
                )

    def __len__(self) -> int:
        return len(self.values)

    def first(self, count: int) -> Curve:
        """Return the curve as it was after `count` evaluations."""
        return Curve(self.steps[:count], self.values[:count], self.higher_is_better)

    def and_then(self, step: float, value: float) -> Curve:
        """Return the curve with one more evaluation."""
        return Curve((*self.steps, step), (*self.values, value), self.higher_is_better)

    @property
    def heights(self) -> tuple[float, ...]:
        """The values turned so that higher is better."""
        return self.values if self.higher_is_better else tuple(-v for v in self.values)

    @property
    def best(self) -> int | None:
        """Which evaluation was the best so far (the first of equals); None where no value is finite."""
        heights = self.heights
        finite = [i for i, h in enumerate(heights) if isfinite(h)]
        return max(finite, key=lambda i: heights[i], default=None)

    @property
    def gain(self) -> float:
        """What the best is better than the first value, in the metric's own unit; 0 for a curve without one."""
        best = self.best
        return 0.0 if best is None or not isfinite(self.heights[0]) else self.heights[best] - self.heights[0]

    @property
    def noise(self) -> float:
        """The scatter (standard deviation) from one evaluation to the next, in the metric's unit.

        From the second differences of the last third of the curve (at least eight points), by their median, so that
        neither a trend nor, from nine points on, a single outlier counts as noise. 0 below three points.
        """
        recent = [v for v in self.values[-max(8, len(self) // 3) :] if isfinite(v)]
        bends = sorted(abs(a - 2 * b + c) for a, b, c in zip(recent, recent[1:], recent[2:], strict=False))
        if not bends:
            return 0.0
        middle = len(bends) // 2
        median = bends[middle] if len(bends) % 2 else (bends[middle - 1] + bends[middle]) / 2
        return _MAD_TO_SD * median / _SECOND_DIFFERENCE_SD

    @property
    def grain(self) -> float:
        """The step below which the metric cannot show a change: the least difference of its values, where they recur.

        A share of few answers stands on such a grid, and its standstill is no rest. 0 where none of the newest third of
        the evaluations (at least eight) is one seen before.
        """
        count = max(8, len(self) // 3)
        finite = [v for v in self.values if isfinite(v)]
        recent = finite[-count:]
        if len(set(recent)) == len(recent):
            return 0.0
        return min((b - a for a, b in pairwise(sorted(set(finite)))), default=0.0)

    def growth(self, horizon: float) -> float:
        """Return what the run would still gain if its last third carried on to `horizon`, in the metric's unit.

        The last third is the last 35 % of the steps done; only a new best counts as having gained.
        """
        best = self.best
        if best is None:
            return 0.0
        now = self.steps[-1]
        before = [h for s, h in zip(self.steps, self.heights, strict=True) if s <= 0.65 * now and isfinite(h)]
        recent = self.heights[best] - (max(before) if before else self.heights[0])
        return recent * max(0.0, horizon - now) / now if now else 0.0

    def rise(self, horizon: float) -> float:
        """Return what the newest evaluations, carried on straight to `horizon`, would be above the best; below 0 if under.

        By least squares through the newest eighth of the evaluations, at least four. A curve that has passed its best
        and climbs again has a rise, and no growth. -inf below two finite values.
        """
        count = max(4, len(self) // 8)
        recent = [
            (s, h) for s, h in zip(self.steps[-count:], self.heights[-count:], strict=True) if isfinite(h)
        ]
        if self.best is None or len(recent) < 2:
            return -inf
        slope, level = linear_regression(*zip(*recent, strict=True))
        return level + slope * horizon - self.heights[self.best]

    def tested(self, horizon: float) -> int:
        """Return how many evaluations lie far enough back to have been asked as much as is asked now.

        To look from here to `horizon` is to look so many times further than the run has come; from these evaluations,
        as many times further is no later than now, so that the curve itself shows what came of it.
        """
        now = self.steps[-1] if self.steps else 0.0
        return sum(s * horizon <= now * now * (1 + 1e-9) for s in self.steps)
