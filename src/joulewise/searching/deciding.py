"""What to do next: the trial, new or paused, that promises the most gain per joule. Pure, so it can be replayed.

    gain = expected improvement of the best value, if this trial were trained to its end
    cost = joules that are still missing to its end, learnt from measured epochs
    next = the trial with the greatest gain / cost, trained to its next rung only

A paused trial's missing joules are few, so a good one is finished soon; a cheap new one is preferred to a dear one of
equal promise. Until enough was seen, the first points are trained to the minimum rung. Every choice carries its
reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, erf, exp, log, pi, sqrt

import numpy as np

from joulewise.searching.cost import CostModel
from joulewise.searching.curves import Beliefs, CurveModel, Warp, fit, see, warp_of
from joulewise.searching.fidelity import Minimum, minimum
from joulewise.searching.front import expected_growth, hypervolume
from joulewise.searching.history import Decision, State, Step, Trial
from joulewise.searching.proposing import by_density, candidates, first_points
from joulewise.searching.space import Space, Vector
from joulewise.vocabulary.errors import UsageError

_CANDIDATES = 200
_CHANCE = 0.05  # of beating the best: below it a paused trial is not finished for its own sake
_MOST_BEST, _MOST_LATEST, _MOST_FAILED = 120, 60, 20  # trials that a decision looks at: it stays within 50 ms
_FIRST_FIT, _NEXT_FIT, _LATE_FIT = 30, 4, 2  # steps of the fit; late: one trial more changes little


@dataclass(frozen=True, slots=True)
class Rules:
    """How a study decides: epochs of a full training, seed, how many first points, the weight of cost.

    `cost_power` 1 is gain per joule, 0 leaves cost out (for the ablation). `growth` is the factor between rungs.
    """

    epochs: int
    seed: int = 0
    first: int = 8
    cost_power: float = 1.0
    growth: float = 1.7
    most_trials: int | None = None
    minimise: bool = (
        False  # the values of trials are turned around then; reasons show them as they were reported
    )
    unit: str = "J"  # what costs are counted in; s where no joules are known
    shares: tuple[float, ...] = ()  # each epoch is a training of its own, on this share of the whole
    pareto: bool = False  # look for the front of value and joules, not for the best value alone
    tolerance: float = 0.0  # a best that is not expected to grow by more is the answer; 0 searches on

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing could be decided."""
        if self.epochs < 1:
            raise UsageError(f"epochs is {self.epochs}, but must be at least 1")
        if self.first < 2:
            raise UsageError(f"first is {self.first}, but must be at least 2")
        object.__setattr__(self, "shares", tuple(self.shares))
        growing = all(0 < a < b for a, b in pairwise(self.shares))
        if self.shares and (not growing or self.shares[-1] != 1 or len(self.shares) != self.epochs):
            raise UsageError(f"shares are {list(self.shares)}, but must grow from above 0 to 1")
        if self.tolerance < 0:
            raise UsageError(f"tolerance is {self.tolerance:g}, but must be at least 0")
        if self.cost_power < 0 or self.growth <= 1:
            raise UsageError(
                f"cost_power is {self.cost_power:g} and growth is {self.growth:g}, but must be at least 0 and above 1"
            )

    def unit_j(self, trial: Trial) -> float:
        """Return what an epoch of a trial costs; with shares, its training on the whole."""
        return trial.costs_j[-1] / self.shares[len(trial.costs_j) - 1] if self.shares else trial.epoch_j

    @property
    def units(self) -> float:
        """How many of these units a full training is."""
        return 1.0 if self.shares else self.epochs

    def missing(self, trial: Trial | None = None) -> float:
        """Return how many units are missing to the end of a trial (None: a new one)."""
        done = trial.epoch if trial is not None and (trial.resumable or self.shares) else 0
        return sum(self.shares[done:]) if self.shares else self.epochs - done

    def position(self, epoch: int) -> float:
        """Return where an epoch lies on the way to the end, 1: by the logarithm of the epoch, or of its share."""
        if self.epochs == 1:
            return 1.0
        if self.shares:
            return 1 - log(self.shares[epoch - 1]) / log(self.shares[0])
        return log(epoch) / log(self.epochs)

    def full(self, trials: Sequence[Trial]) -> bool:
        """Return whether no further trial may be started."""
        return self.most_trials is not None and sum(not t.past for t in trials) >= self.most_trials


def decide(
    space: Space, trials: Sequence[Trial], beliefs: Beliefs | None, rules: Rules, worker: str = ""
) -> tuple[Decision, Beliefs | None]:
    """Return what `worker` is to do next and what is now believed; equal input, equal answer.

    `trials` are all so far, in order, those that other workers train or hold in memory too: these are not chosen.
    """
    taken = {
        t.key or space.key(space.configuration(t.point))
        for t in trials
        if not t.past or t.epoch >= rules.epochs  # a past run that came less far may be worth its epochs
    }
    least = minimum(trials, rules.epochs)
    for trial in trials:
        if trial.free_for(worker) and not trial.epoch:  # its process ended before its first epoch did
            return Decision(
                Step.PROMOTE, f"it was started, but not trained; to {least.reason}", least.epoch, trial.number
            ), beliefs
    begun = [t for t in trials if t.epoch and t.state is not State.FAILED]
    if not rules.full(trials) and (len(trials) < rules.first or len(begun) < 2):
        point = _first(space, trials, taken, rules)
        if point is not None:
            return _start(point, least, f"one of the first {rules.first} points", len(trials)), beliefs
    if len(begun) < 2:
        return _finish(begun, trials, rules, worker), beliefs
    rng = np.random.default_rng((rules.seed, len(trials), sum(t.epoch for t in trials)))
    if least.blind:
        return _in_full(space, trials, begun, taken, least, rng, rules, worker), beliefs
    return _by_gain(space, begun, trials, taken, least, beliefs, rng, rules, worker)


def next_rung(epoch: int, rules: Rules) -> int:
    """Return the epoch to which a trial that stands at `epoch` goes on."""
    step = 1 if rules.shares else ceil(epoch * rules.growth) - epoch
    return min(rules.epochs, epoch + max(1, step))


def expected_improvement(mean: Vector, spread: Vector, best: float) -> Vector:
    """Return E[max(0, Y - best)] of normal Y."""
    z = (mean - best) / spread
    cumulative = np.array([0.5 * (1 + erf(v / sqrt(2))) for v in z])
    density = np.array([exp(-v * v / 2) / sqrt(2 * pi) if abs(v) < 37 else 0.0 for v in z])
    return np.asarray(spread * (z * cumulative + density))


def _by_gain(
    space: Space,
    begun: Sequence[Trial],
    trials: Sequence[Trial],
    taken: set[str],
    least: Minimum,
    beliefs: Beliefs | None,
    rng: np.random.Generator,
    rules: Rules,
    worker: str,
) -> tuple[Decision, Beliefs | None]:
    late = len(begun) > _MOST_LATEST
    begun = looked_at(begun)
    warp = warp_of(np.array([v for t in begun for v in t.values]))
    failed = [t for t in trials if t.state is State.FAILED][-_MOST_FAILED:]
    worst = min(v for t in begun for v in t.values)
    unseen = [t for t in trials if t.state is State.RUNNING and not t.epoch]
    known = [*begun, *(failed_as(t, worst, rules.epochs) for t in failed), *unseen]
    points = np.array([t.point for t in known])
    features = space.features(points)
    seen = see(known, features, rules.epochs, warp, rules.position)
    believed = (
        fit(seen, beliefs, _LATE_FIT if late else _NEXT_FIT)
        if beliefs is not None
        else fit(seen, Beliefs.first(features.shape[1]), _FIRST_FIT)
    )
    model = CurveModel(seen, believed)
    rows = np.arange(len(known), dtype=float)
    mean, spread = model.forecast(features, np.ones(len(known)), rows)
    running = np.array([i for i, t in enumerate(known) if t.state is State.RUNNING], dtype=int)
    if len(running):  # taken to end as forecast, so that two workers do not look for the same gain
        seen = seen.with_points(rows[running], np.ones(len(running)), mean[running])
        model = CurveModel(seen, believed)
        mean, spread = model.forecast(features, np.ones(len(known)), rows)
    cost = CostModel(begun, features[: len(begun)], rules.unit_j)
    aim = _Front(begun, warp, rules) if rules.pareto else _Best(begun, warp, rules)

    paused = [i for i, t in enumerate(begun) if t.free_for(worker) and t.epoch < rules.epochs]
    full_j = np.array([rules.unit_j(begun[i]) * rules.units for i in paused])
    gains = aim.gains(mean[paused], spread[paused], full_j)
    missing_j = np.array([rules.unit_j(begun[i]) * rules.missing(begun[i]) for i in paused])

    fresh = np.empty((0, len(space.names)))
    if not rules.full(trials):
        fresh = _untried(space, candidates(space, points, mean, rng, _CANDIDATES), taken)
    if len(fresh):
        fresh_features = space.features(fresh)
        m, s = model.forecast(fresh_features, np.ones(len(fresh)), np.full(len(fresh), -1.0))
        each_j = cost.epoch_j(fresh_features)
        gains = np.concatenate([gains, aim.gains(m, s, each_j * rules.units)])
        missing_j = np.concatenate([missing_j, each_j * rules.missing()])
        mean, spread = np.concatenate([mean[paused], m]), np.concatenate([spread[paused], s])
    else:
        mean, spread = mean[paused], spread[paused]
        nothing = _nothing_new(trials, rules)
        if not len(gains):
            return _idle(nothing, len(running)), believed
        if hopeless := aim.hopeless(mean, spread, gains):
            return _idle(f"{nothing}, and {hopeless}", len(running)), believed
    if not len(running) and (answer := aim.answered(gains)):
        return Decision(Step.STOP, answer), believed
    worth = gains / np.maximum(missing_j, 1e-12) ** rules.cost_power
    pick = int(np.argmax(worth))
    told = f"{aim.told(mean[pick], spread[pick], gains[pick])}, {missing_j[pick]:.3g} {rules.unit} to its end: the most gain for its cost of {len(gains)}"
    if pick < len(paused):
        trial = begun[paused[pick]]
        until = max(next_rung(trial.epoch, rules), min(least.epoch, rules.epochs))
        return Decision(Step.PROMOTE, told, until, trial.number), believed
    return _start(fresh[pick - len(paused)], least, told, len(trials)), believed


class _Best:
    """Gain as the expected improvement of the best value."""

    def __init__(self, begun: Sequence[Trial], warp: Warp, rules: Rules) -> None:
        self._warp = warp
        self._rules = rules
        self._best = float(warp(np.array([max(t.best for t in begun)]))[0])

    def gains(self, mean: Vector, spread: Vector, _full_j: Vector) -> Vector:
        """Return what each training is expected to add."""
        return expected_improvement(mean, spread, self._best)

    def hopeless(self, mean: Vector, spread: Vector, _gains: Vector) -> str:
        """Return why none of the paused trials is worth its joules, where nothing new is left; or nothing."""
        chance = 0.5 * (1 - erf(float(np.min((self._best - mean) / spread)) / sqrt(2)))
        if chance >= _CHANCE:
            return ""
        return f"none of the {len(mean)} paused ones has a chance of {100 * _CHANCE:.0f} % to beat the best (at most {100 * chance:.2g} %)"

    def answered(self, gains: Vector) -> str:
        """Return why the search has its answer; or nothing."""
        most = float(gains.max()) * self._warp.spread * self._warp.delta  # the scale is straight at the top
        if most >= self._rules.tolerance:
            return ""
        return f"the best is expected to improve by {most:.2g} at most, less than {self._rules.tolerance:g}"

    def told(self, mean: float, spread: float, _gain: float) -> str:
        """Return the forecast of one training in words."""
        return f"its end is forecast at {_forecast(self._warp, self._rules, mean, spread)}, best so far {_shown(self._warp.top, self._rules)}"


class _Front:
    """Gain as the expected growth of the area under the Pareto front of value and joules of a full training."""

    def __init__(self, begun: Sequence[Trial], warp: Warp, rules: Rules) -> None:
        self._warp = warp
        self._rules = rules
        full_j = [rules.unit_j(t) * rules.units for t in begun if t.costs_j]
        self._points = [
            (rules.unit_j(t) * rules.units, t.best) for t in begun if t.state is State.COMPLETE and t.costs_j
        ]
        self._reference = (1.1 * max(full_j, default=1.0), min(t.best for t in begun))
        self._area = hypervolume(self._points, self._reference)

    def gains(self, mean: Vector, spread: Vector, full_j: Vector) -> Vector:
        """Return what each training is expected to add."""
        return expected_growth(mean, spread, full_j, self._points, self._reference, self._warp.back)

    def hopeless(self, _mean: Vector, _spread: Vector, gains: Vector) -> str:
        """Return why none of the paused trials is worth its joules, where nothing new is left; or nothing."""
        share = float(gains.max()) / self._area if self._area else 1.0
        return (
            f"none of the {len(gains)} paused ones is expected to add a thousandth to the front"
            if share < 1e-3
            else ""
        )

    def answered(self, gains: Vector) -> str:
        """Return why the search has its answer; or nothing. The tolerance is a share of the front's area."""
        share = float(gains.max()) / self._area if self._area else 1.0
        if share >= self._rules.tolerance:
            return ""
        return f"the front is expected to grow by {100 * share:.2g} % at most, less than {100 * self._rules.tolerance:g} %"

    def told(self, mean: float, spread: float, gain: float) -> str:
        """Return the forecast of one training in words."""
        return f"its end is forecast at {_forecast(self._warp, self._rules, mean, spread)}, which adds {gain:.3g} to the front's {self._area:.3g}"


def _forecast(warp: Warp, rules: Rules, mean: float, spread: float) -> str:
    low, middle, high = warp.back(mean + np.array([-1.645, 0.0, 1.645]) * spread)
    if rules.minimise:
        low, high = high, low
    return f"{_shown(middle, rules)} ({_shown(low, rules)} to {_shown(high, rules)})"


def _shown(value: float, rules: Rules) -> str:
    """Return a value as it was reported."""
    return f"{-value if rules.minimise else value:.4g}"


def _in_full(
    space: Space,
    trials: Sequence[Trial],
    begun: Sequence[Trial],
    taken: set[str],
    least: Minimum,
    rng: np.random.Generator,
    rules: Rules,
    worker: str,
) -> Decision:
    """Return a new trial by density, trained in full: the fall-back where early values tell nothing."""
    if rules.full(trials):
        return _finish(begun, trials, rules, worker)
    done = [t for t in begun if t.epoch >= rules.epochs]
    points, scores = np.array([t.point for t in done]), np.array([t.best for t in done])
    fresh = _untried(
        space,
        np.vstack([by_density(space, points, scores, rng, 8), rng.random((64, points.shape[1]))]),
        taken,
    )
    if not len(fresh):
        return _finish(begun, trials, rules, worker)
    return _start(fresh[0], least, "where good trials are dense", len(trials))


def looked_at(begun: Sequence[Trial]) -> list[Trial]:
    """Return the trials that the model sees, in order: all while they are few, then the best and the latest."""
    if len(begun) <= _MOST_BEST + _MOST_LATEST:
        return list(begun)
    earlier = sorted(begun[:-_MOST_LATEST], key=lambda t: (-t.best, t.number))[:_MOST_BEST]
    return sorted([*earlier, *begun[-_MOST_LATEST:]], key=lambda t: t.number)


def failed_as(trial: Trial, worst: float, epochs: int) -> Trial:
    """Return a failed trial as the model sees it: from where it failed to its end as bad as the worst seen."""
    return replace(trial, values=(*trial.values, *(worst,) * (epochs - trial.epoch)))


def _nothing_new(trials: Sequence[Trial], rules: Rules) -> str:
    if rules.full(trials):
        return f"all {rules.most_trials} trials of the budget are started"
    return "every configuration of the space has been tried"


def _first(space: Space, trials: Sequence[Trial], taken: set[str], rules: Rules) -> Vector | None:
    """Return the next of the first points that was not tried, then any other; None if the space is used up."""
    laid = first_points(space, rules.first, rules.seed)[len(trials) :]
    anywhere = np.random.default_rng((rules.seed, len(trials))).random((256, len(space.names)))
    fresh = _untried(space, np.vstack([laid, anywhere]), taken)
    return fresh[0] if len(fresh) else None


def _untried(space: Space, points: Vector, taken: set[str]) -> Vector:
    """Return the points whose configurations were never run, as those configurations' own points."""
    kept, keys = [], set(taken)
    for point in points:
        configuration = space.configuration(point)
        key = space.key(configuration)
        if key not in keys:
            keys.add(key)
            kept.append(space.point(configuration))
    return np.array(kept).reshape(len(kept), len(space.names))


def _finish(begun: Sequence[Trial], trials: Sequence[Trial], rules: Rules, worker: str) -> Decision:
    """Return the promotion of the best paused trial, or the end; WAIT while others train."""
    paused = [t for t in begun if t.free_for(worker) and t.epoch < rules.epochs]
    if not paused:
        return _idle(_nothing_new(trials, rules), sum(t.state is State.RUNNING for t in trials))
    trial = max(paused, key=lambda t: (t.best, -t.number))
    return Decision(Step.PROMOTE, "nothing new is left; the best that is paused", rules.epochs, trial.number)


def _idle(why: str, running: int) -> Decision:
    """Return the end; or, while `running` trials are being trained that may still change the answer, to wait."""
    return Decision(Step.WAIT, f"{why}; {running} are being trained") if running else Decision(Step.STOP, why)


def _start(point: Vector, least: Minimum, why: str, number: int) -> Decision:
    return Decision(Step.START, f"{why}; first to {least.reason}", least.epoch, number, point)
