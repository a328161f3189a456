"""What a run still has to gain: a distribution with its interval, from two numbers of its curve.

The gain still to come, as a share of the gain so far, is taken as log-logistic:

    log odds(more than x is to come) = level + growth ln(g + e) + noise ln(n + e) - spread ln x

with g the growth carried on to the end of the run and n the noise, both as shares of the gain so far, e = 0.001. Four
constants, fitted on the 362 learning curves of TaskSet by `bench/train_stopping.py`, which judges them on the 863 of
AlgoPerf, and the other way round. Richer models (power laws, boosted trees over sixteen features) were more exact on
the suite that they were fitted on and worse on the other: docs/decisions/0801-four-constants.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log

from joulewise.curves.curve import Curve

FLOOR = 0.001  # a growth or noise below a thousandth of the gain so far is not told from none


@dataclass(frozen=True, slots=True)
class Constants:
    """The constants of the forecast; see the head of this file."""

    level: float
    growth: float
    noise: float
    spread: float


TASKSET = Constants(level=4.508, growth=1.198, noise=0.51, spread=0.648)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The gain still to come by the end of the run, in the metric's own unit."""

    gain: float  # so far
    position: float  # of the distribution: the log odds that more than all the gain so far is still to come
    spread: float

    def chance(self, more_than: float) -> float:
        """Return the chance (0 to 1) that more than this is still to come."""
        if more_than <= 0:
            return 1.0
        odds = self.position - self.spread * log(more_than / self.gain)
        return 1 / (1 + exp(-odds)) if odds > -700 else 0.0

    def exceeded_with(self, chance: float) -> float:
        """Return the further gain that is exceeded with this chance: 0.5 gives the median, 0.05 a high bound."""
        power = (self.position - log(chance / (1 - chance))) / self.spread
        return self.gain * exp(power) if power < 700 else inf

    @property
    def interval(self) -> tuple[float, float, float]:
        """The central 90 % interval: low, median, high."""
        return self.exceeded_with(0.95), self.exceeded_with(0.5), self.exceeded_with(0.05)


def features(curve: Curve, horizon: float, least_noise: float = 0.0) -> tuple[float, float] | None:
    """Return ln(growth + e) and ln(noise + e), as shares of the gain so far; None where nothing was gained."""
    gain = curve.gain
    if gain <= 0:
        return None
    return log(curve.growth(horizon) / gain + FLOOR), log(max(curve.noise, least_noise) / gain + FLOOR)


def forecast(
    curve: Curve, horizon: float, constants: Constants = TASKSET, least_noise: float = 0.0
) -> Forecast | None:
    """Return what the run still has to gain until `horizon`; None where nothing was gained yet to judge by.

    `least_noise` is what the validation set cannot resolve, in the metric's unit: a curve that stands still because
    its validation set is too small to show it moving counts as no quieter than that.
    """
    shape = features(curve, horizon, least_noise)
    if shape is None:
        return None
    growth, noise = shape
    position = constants.level + constants.growth * growth + constants.noise * noise
    return Forecast(curve.gain, position, constants.spread)
