"""A job that is trained again and again: its batch size and power limit by the joules that it took to the target.

Each recurrence is a run that had to be done anyway, so it may as well tell something: `next_run` names the batch size to
take and the joules at which to give the run up. It walks from the published size towards fewer joules, one size at a time
on either side, gives up what can no longer win, and stays with the best, looking again where the noise of a few runs may
have misled it (after Zeus, You et al., NSDI 2023, whose bandit samples all sizes). `choose_limit` takes the power limit
from a profile of one run: a limit changes joules and seconds of a step, never what is learned from it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev

from joulewise.vocabulary.errors import UsageError

_GIVE_UP = 1.25  # times the best mean: joules at which a run at another size is given up
_AGAIN = 2  # runs at a size that came near the best, before it is left for good
_NEAR = 1.1  # times the best mean
_TIE = 1.03  # times the least mean: of such sizes the one nearest to the published is the best
_HOPELESS = 2.0  # times its own mean: joules at which a run at the best size is taken to have failed
_NOISE = 0.1  # of the joules to a target from seed to seed, where too few runs tell


@dataclass(frozen=True, slots=True)
class Past:
    """One finished run: its batch size, the joules that it used, whether it reached the target."""

    batch_size: int
    energy_j: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Next:
    """The run to do now: its batch size, the joules at which to give it up (infinite: never), and why."""

    batch_size: int
    give_up_j: float
    reason: str

    def __str__(self) -> str:
        limit = "" if self.give_up_j == inf else f", given up at {self.give_up_j:.3g} J"
        return f"batch size {self.batch_size}{limit}: {self.reason}"


def next_run(sizes: Sequence[int], default: int, history: Sequence[Past]) -> Next:
    """Return what to run next, by the runs done so far (the oldest first). Pure.

    `sizes` are the batch sizes allowed, `default` the published one, with which the first run is done.
    """
    ordered = sorted(set(sizes))
    if not ordered:
        raise UsageError("no batch sizes are given; name those that may be tried")
    if default not in ordered:
        raise UsageError(f"default is {default}, but must be one of the sizes {', '.join(map(str, ordered))}")
    unknown = sorted({p.batch_size for p in history} - set(ordered))
    if unknown:
        raise UsageError(f"history has a run of batch size {unknown[0]}, which is not one of the sizes")
    reached = {s: [p.energy_j for p in history if p.batch_size == s and p.reached] for s in ordered}
    failed = {s: [p.energy_j for p in history if p.batch_size == s and not p.reached] for s in ordered}
    means = _means(history)
    if not means:
        return _first(ordered, default, {s: len(v) for s, v in failed.items()})
    best = _nearest(ordered, default, means)
    limit = _GIVE_UP * means[best]
    for size in _beside(ordered, best, means, failed):
        return Next(
            size, limit, f"not far from {best}, the best of {len(means)} so far at {means[best]:.3g} J"
        )
    for size, mean in sorted(means.items(), key=lambda item: item[1]):
        if size != best and mean < _NEAR * means[best] and len(reached[size]) < _AGAIN:
            return Next(size, limit, f"its {mean:.3g} J came near {best}'s {means[best]:.3g} J: once more")
    uncertain = min(means, key=lambda s: means[s] - _error(reached[s]))
    if uncertain != best and len(reached[uncertain]) < len(reached[best]):
        return Next(
            uncertain, limit, f"may be better than {best}: {len(reached[uncertain])} runs say too little"
        )
    limit = _HOPELESS * means[best]
    return Next(
        best, limit, f"the best of {len(means)} sizes: {means[best]:.3g} J over {len(reached[best])} runs"
    )


def best_size(sizes: Sequence[int], default: int, history: Sequence[Past]) -> int:
    """Return the batch size with the fewest joules to the target so far; `default` where none reached it. Pure."""
    means = _means(history)
    return _nearest(sorted(set(sizes)), default, means) if means else default


def _means(history: Sequence[Past]) -> dict[int, float]:
    """Return the joules to the target by size. A run that fails is done again: its joules are part of reaching it."""
    reached = {
        s: sum(p.reached for p in history if p.batch_size == s) for s in {p.batch_size for p in history}
    }
    return {s: sum(p.energy_j for p in history if p.batch_size == s) / n for s, n in reached.items() if n}


def _nearest(ordered: list[int], default: int, means: Mapping[int, float]) -> int:
    """Return the best size; among those that are hardly worse, the one nearest to the published."""
    least, place = min(means.values()), ordered.index(default)
    tied = [s for s, mean in means.items() if mean <= _TIE * least]
    return min(tied, key=lambda s: (abs(ordered.index(s) - place), means[s]))


def _first(ordered: list[int], default: int, failed: Mapping[int, int]) -> Next:
    """Return the published size, or the nearest to it that has not failed yet."""
    untried = [s for s in ordered if not failed[s]] or ordered
    size = min(untried, key=lambda s: (failed[s], abs(ordered.index(s) - ordered.index(default))))
    why = "the published size" if size == default else f"{default} did not reach the target"
    return Next(size, inf, why)


def _beside(
    ordered: list[int], best: int, means: Mapping[int, float], failed: Mapping[int, list[float]]
) -> list[int]:
    """Return the untried sizes next to the best, on both sides, the nearest first.

    One size that was worse does not close a side, unless it was given up: a step of the walk may have been bad luck.
    """
    place, found = ordered.index(best), []
    for side in (-1, 1):
        worse, at = 0, place + side
        while 0 <= at < len(ordered):
            size = ordered[at]
            if size not in means and not failed[size]:
                found.append((abs(at - place), size))
                break
            worse += 1
            if worse > 1 or failed[size]:
                break
            at += side
    return [size for _, size in sorted(found)]


def _error(joules: list[float]) -> float:
    """Return the standard error of the mean: of few runs by what is usual, else by their own scatter."""
    mean = fmean(joules)
    own = stdev(joules) if len(joules) > 2 else 0.0
    return max(own, _NOISE * mean) / sqrt(len(joules))


def choose_limit(
    profile: Mapping[float, tuple[float, float]], *, slower: float | None = None
) -> tuple[float, str]:
    """Return the power limit with the fewest joules, and what it changes in joules and time. Pure.

    `profile` gives for each limit (watts) the seconds and the mean watts of the same piece of work. `slower` is how much
    longer it may take than the fastest (0.1: a tenth).
    """
    if not profile:
        raise UsageError("the profile is empty: measure a few steps at each power limit first")
    for limit, (seconds, watts) in profile.items():
        if not (seconds > 0 and watts > 0):
            raise UsageError(
                f"the profile at {limit:g} W has {seconds:g} s and {watts:g} W; both must be above 0"
            )
    if slower is not None and slower < 0:
        raise UsageError(f"slower is {slower:g}, but must be at least 0")
    fastest = min(seconds for seconds, _ in profile.values())
    allowed = {
        limit: seconds * watts
        for limit, (seconds, watts) in profile.items()
        if slower is None or seconds <= (1 + slower) * fastest
    }
    best = min(allowed, key=lambda limit: allowed[limit])
    seconds, watts = profile[max(profile)]
    saved, longer = 1 - allowed[best] / (seconds * watts), profile[best][0] / seconds - 1
    return best, f"{saved:.0%} fewer joules than at {max(profile):g} W, {longer:+.0%} time"
