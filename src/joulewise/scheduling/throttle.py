"""How much of a cluster should run now, when nothing is known about its jobs: a cap that follows the grid.

    cap = least + the number of thresholds at or above the present intensity

The k = most - least thresholds are those of optimal k-min search (Lorenz, Panagiotou, Steger 2009: Optimal algorithms for
k-search with application in option pricing), used for provisioning by intensity as in Lechowicz et al. 2025 (Carbon- and
precedence-aware scheduling for data processing clusters). Between the lowest (L) and highest (U) intensity that are expected

    p_i = U (1 - (1 - 1/alpha) (1 + 1/(k alpha))^(i-1)),   alpha from   (1 - L/U) / (1 - 1/alpha) = (1 + 1/(k alpha))^k

so that whatever order the hours come in, what runs above the least is at most alpha times as dirty as it could have been.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulewise.vocabulary.errors import UsageError

_FLAT = 1.05  # a highest within 5 % of the lowest tells no hour from another


@dataclass(frozen=True, slots=True)
class Cap:
    """How many units (nodes, processors) may run now, of how many, and why."""

    units: int
    most: int
    reason: str


def thresholds(count: int, lowest: float, highest: float) -> tuple[float, ...]:
    """Return the intensities at which the first, second, ... unit above the least may run, highest first.

    `lowest` and `highest` are in one unit (gCO2e/kWh); above 0, and `highest` at least `lowest`.
    """
    if count < 1 or not 0 < lowest <= highest:
        raise UsageError(f"there are no {count} thresholds between {lowest:g} and {highest:g} gCO2e/kWh")
    alpha = _ratio(count, lowest / highest)
    step = 1 + 1 / (count * alpha)
    return tuple(highest * (1 - (1 - 1 / alpha) * step**i) for i in range(count))


def throttle(now: float, lowest: float, highest: float, most: int, least: int) -> Cap:
    """Return how many of `most` units may run at the intensity `now`; at least `least`, which keeps work moving.

    `lowest` and `highest` are what the coming day or two are expected to see (gCO2e/kWh).
    """
    if not 0 <= least <= most or most < 1:
        raise UsageError(f"the least is {least} of {most} units, but must lie between 0 and all of them")
    low, high = max(1e-6, min(now, lowest)), max(now, highest)
    if least == most or high <= low * _FLAT:
        return Cap(most, most, f"{now:.0f} g/kWh, and no coming hour is much cleaner or dirtier")
    marks = thresholds(most - least, low, high)
    units = least + sum(mark >= now * (1 - 1e-9) for mark in marks)
    span = f"between {low:.0f} and {high:.0f} are expected"
    if units == most:
        return Cap(units, most, f"{now:.0f} g/kWh where {span}: everything may run")
    return Cap(
        units, most, f"{now:.0f} g/kWh where {span}: the next unit runs from {marks[units - least]:.0f} on"
    )


def _ratio(count: int, share: float) -> float:
    """Return alpha, at least 1, by bisection; `share` is L/U."""
    low, high = 1.0, 1.0 / share + 1.0
    for _step in range(200):
        alpha = (low + high) / 2
        if (1 - share) < (1 - 1 / alpha) * (1 + 1 / (count * alpha)) ** count:
            high = alpha
        else:
            low = alpha
    return high
