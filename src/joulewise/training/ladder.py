"""A ladder of smaller models at low fidelity: the smallest that will hold the tolerance, or a plain no.

Each rung is trained for a ninth of the run. What it will be after the whole run is said as errors beside the largest's:

    ln(error of the small / error of the large), at the end  =  level + slope * the same at a ninth +- spread
                                                                + size * ln(weights of the small / of the large)

Where there are four rungs or more of one shape, the ladder calibrates itself: what a twenty-seventh of the run said of a
ninth, for models of this family on these data, is taken twice for what a ninth says of the whole (`calibrated`). Else the
constants are those of half of EC-NAS's five-vertex networks. Both are judged by `bench/train_ladder.py`. A rung is said to
hold the tolerance only if it does so with 90 %: early ranks are weak, so the ladder often cannot tell, says so, and never
promises. Pure; `climb` is the shell that trains the rungs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import exp, hypot, log
from statistics import fmean, linear_regression, quantiles
from typing import Any

from joulewise.compressing.pruning import BLOCK
from joulewise.training.asking import ask
from joulewise.training.choices import Recipe
from joulewise.training.cutting import THINNED_AT, Cut, cut, take
from joulewise.training.feeding import rows
from joulewise.training.spending import Spending, spending
from joulewise.training.trainer import Trainer
from joulewise.vocabulary.errors import UsageError

FIDELITY = 1 / 9  # of the run's epochs
BEFORE = 1 / 27  # of the run's epochs: what a ladder calibrates itself by
_LEAST_RUNGS = 4


@dataclass(frozen=True, slots=True)
class Constants:
    """How errors at a ninth of the run carry over to its end; `reach` is exceeded with 10 %. See the head of this file."""

    level: float
    slope: float
    reach: float
    size: float = 0.0


ECNAS = Constants(level=0.048, slope=0.284, reach=0.211, size=-0.167)


@dataclass(frozen=True, slots=True)
class Rung:
    """A model trained at low fidelity: its error there (0 to 1), what a sample costs in training and a request after it.

    `cut` is what it becomes with channels cut, where that was asked for.
    """

    name: str
    weights: int
    error: float
    training_j: float
    request_j: float
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A rung beside the largest: its error to expect after the whole run, as middle and 90 % high end; whether it holds.

    The shares saved are of the largest's joules, in training and for each request.
    """

    rung: Rung
    expected: float
    high: float
    holds: bool
    training_saved: float
    request_saved: float

    def __str__(self) -> str:
        answer = "holds" if self.holds else "cannot be told to hold"
        return (
            f"{self.rung.name}: error {self.expected:.3g}, at most {self.high:.3g} with 90 %: {answer}; saves "
            f"{self.training_saved:.0%} of the joules in training, {self.request_saved:.0%} of a request's"
        )


def _against(saved: float) -> str:
    return f"saves {saved:.0%}" if saved >= 0 else f"costs {1 - saved:.0%}"


@dataclass(frozen=True, slots=True)
class Outlook:
    """A rung with channels cut: its error to expect after the whole run and the cut, and what it saves of the largest's.

    Training counts the fine-tuning after the cut, so its share saved can be below 0.
    """

    rung: Rung
    cut: Cut
    expected: float
    training_saved: float
    request_saved: float

    def __str__(self) -> str:
        share = f"{self.rung.name} with {self.cut.ratio:.0%} of its channels cut"
        if self.cut.why:
            return f"{share}: {self.cut.why}"
        return (
            f"{share}: loss {self.cut.before.loss:.3g} becomes {self.cut.after.loss:.3g} here, error {self.expected:.3g} "
            f"to expect after the whole run; {_against(self.training_saved)} of the joules in training, "
            f"{_against(self.request_saved)} of a request's"
        )


@dataclass(frozen=True, slots=True)
class Ladder:
    """All standings, the largest first, and the smallest rung that holds (None: no).

    `outlooks` are of rungs that were cut, the largest's among them.
    """

    standings: tuple[Standing, ...]
    smallest: Rung | None
    tolerance: float
    outlooks: tuple[Outlook, ...] = ()

    def __str__(self) -> str:
        lines = [str(s) for s in self.standings]
        lines += [str(o) for o in self.outlooks]
        if self.smallest is None:
            lines.append(f"no: no smaller model can be told to stay within {self.tolerance:g} of the largest")
        else:
            lines.append(f"take {self.smallest.name}, and confirm it with one whole run")
        return "\n".join(lines)


def calibrated(before: Sequence[Rung], rungs: Sequence[Rung]) -> Constants:
    """Return this ladder's own constants, from the same rungs at a third of their fidelity. Pure.

    What a third said of the whole is applied twice, since the whole run is two such steps away. For models of one shape that
    differ in size: of EC-NAS's networks of any shape only half to three quarters held that it would have said to.
    Pairs count in which one has at least twice the other's weights; a slope below 0 (more error early, less late) is
    taken for none.
    """
    early = {r.name: r for r in before}
    if early.keys() != {r.name for r in rungs}:
        raise UsageError(
            "the ladder at a third of the fidelity has other rungs; climb twice with the same models"
        )
    if len(rungs) < _LEAST_RUNGS:
        raise UsageError(f"{len(rungs)} rungs cannot calibrate themselves; give at least {_LEAST_RUNGS}")
    pairs = [(s, b) for s in rungs for b in rungs if b.weights >= 2 * s.weights]
    if len(pairs) < _LEAST_RUNGS:
        raise UsageError(f"only {len(pairs)} pairs of rungs differ twofold in weights; spread them wider")
    x = [log(early[s.name].error / early[b.name].error) for s, b in pairs]
    y = [log(s.error / b.error) for s, b in pairs]
    slope, level = linear_regression(x, y) if len(set(x)) > 1 else (0.0, fmean(y))
    if slope < 0:
        slope, level = 0.0, fmean(y)
    left = [v - level - slope * u for u, v in zip(x, y, strict=True)]
    reach = quantiles(left, n=10, method="inclusive")[8]
    return Constants(
        level * (1 + slope), slope**2, reach * hypot(1, slope)
    )  # twice: from a ninth to a third, and on


def judge(
    rungs: Sequence[Rung], largest_error: float, tolerance: float, constants: Constants = ECNAS
) -> Ladder:
    """Return which smaller model will hold the tolerance. Pure.

    `largest_error` is what the largest reaches after a whole run (the user has run it); `tolerance` how much more error
    still counts as holding, both as shares.
    """
    if len(rungs) < 2:
        raise UsageError(f"{len(rungs)} rungs are no ladder; give at least 2 models")
    if not 0 < largest_error < 1:
        raise UsageError(f"largest_error is {largest_error:g}, but must lie between 0 and 1")
    if not tolerance > 0:
        raise UsageError(f"tolerance is {tolerance:g}, but must be above 0: how much more error still holds")
    for rung in rungs:
        if not 0 < rung.error <= 1:
            raise UsageError(f"{rung.name} has an error of {rung.error:g}, but it must lie between 0 and 1")
        if rung.weights < 1:
            raise UsageError(f"{rung.name} has {rung.weights} weights, but must have at least 1")
    ordered = sorted(rungs, key=lambda r: -r.weights)
    largest = ordered[0]
    standings = []

    def saved(training_j: float, request_j: float) -> tuple[float, float]:
        return (
            1 - training_j / largest.training_j if largest.training_j else 0.0,
            1 - request_j / largest.request_j if largest.request_j else 0.0,
        )

    for rung in ordered[1:]:
        middle = (
            constants.level
            + constants.slope * log(rung.error / largest.error)
            + constants.size * log(rung.weights / largest.weights)
        )
        expected, high = (min(1.0, largest_error * exp(m)) for m in (middle, middle + constants.reach))
        standings.append(
            Standing(
                rung,
                expected,
                high,
                high <= largest_error + tolerance,
                *saved(rung.training_j, rung.request_j),
            )
        )
    holding = [s.rung for s in standings if s.holds]
    whole = [(largest, largest_error), *((s.rung, s.expected) for s in standings)]
    outlooks = tuple(
        Outlook(
            rung,
            rung.cut,
            min(1.0, error * rung.cut.error_ratio),
            *saved(rung.training_j + rung.cut.finetune_j, rung.cut.after.request_j),
        )
        for rung, error in whole
        if rung.cut is not None
    )
    return Ladder(tuple(standings), holding[-1] if holding else None, tolerance, outlooks)


def climb(
    models: Mapping[str, Callable[[], Any]],
    recipe: Recipe,
    data: Any,
    held: tuple[Any, Any],
    *,
    loss: Callable[[Any, Any], Any],
    epochs: float,
    transform: Callable[[Any], Any] | None = None,
    counter: Spending | None = None,
    seed: int = 0,
    fidelity: float = FIDELITY,
    finish: Callable[[Any], Any] = lambda model: model,
    ratio: float | None = None,
    thin: float | None = None,
    block: int = BLOCK,
) -> list[Rung]:
    """Train each model for a ninth of `epochs` by the recipe, landed at its end; return the rungs for `judge`.

    With `fidelity=BEFORE` for a twenty-seventh: what `calibrated` wants beside it, for a third more. `finish` makes of a
    trained model the one that answers requests (adapters merged); error and requests are measured on it.
    `ratio` (0.5: half) says of each rung what it becomes with that share of its channels cut, fine-tuned for a third as
    long (`Rung.cut`); `thin` adds to each the rung whose channels are cut after a third of the steps, while it trains.
    Both cut in blocks of `block` channels. `models` names functions that make a model (timm's: backbones.py); `held` are
    inputs and labels that train nothing.
    """
    import torch

    if not epochs > 0:
        raise UsageError(f"epochs is {epochs:g}, but must be above 0")
    if not 0 < fidelity <= 1:
        raise UsageError(
            f"fidelity is {fidelity:g}, but must lie above 0 and at most at 1: a share of the run"
        )
    for name, share in (("ratio", ratio), ("thin", thin)):
        if share is not None and not 0 < share < 1:
            raise UsageError(
                f"{name} is {share:g}, but must lie between 0 and 1: the share of channels to cut"
            )
    if (ratio or thin) and find_spec("torch_pruning") is None:
        raise UsageError("cutting needs torch-pruning; pip install 'joulewise[compress-torch]'")
    counter = counter or spending(recipe.device)
    steps = max(8, int(epochs * fidelity * rows(data) / recipe["batch_size"]))
    samples = steps * recipe["batch_size"]

    def batches(trainer: Trainer) -> Any:
        return trainer.batches(data, transform, seed=seed)

    def rung(name: str, trainer: Trainer, spent_j: float) -> Rung:
        with trainer.evaluating() as judged, torch.inference_mode():
            served = finish(copy.deepcopy(judged)).eval()
        answers = ask(served, held, loss, counter, recipe.device)
        weights = sum(p.numel() for p in trainer.model.parameters())
        return Rung(name, weights, answers.error, spent_j / samples, answers.request_j)

    rungs = []
    for name, make in models.items():
        torch.manual_seed(seed)
        trainer = Trainer(make(), recipe, loss, steps=steps, counter=counter)
        drawn = batches(trainer)
        first = int(steps * THINNED_AT) if thin is not None else 0
        spent_j, thinned = 0.0, None
        if thin is not None:
            spent_j = take(trainer, drawn, first)
            try:
                thinned = trainer.thinned(held[0][:2].to(recipe.device), ratio=thin, block=block)
            except UsageError:  # nothing to cut: no such rung
                thinned = None
        first_j = spent_j
        spent_j += take(trainer, drawn, steps - first)
        found = rung(name, trainer, spent_j)
        if ratio is not None:
            with trainer.evaluating() as judged:
                whole = copy.deepcopy(judged)
            outlook = cut(
                whole,
                recipe,
                batches,
                held,
                loss=loss,
                steps=steps,
                ratio=ratio,
                block=block,
                counter=counter,
            )
            found = replace(found, cut=outlook)
        rungs.append(found)
        if thinned is not None:
            rest_j = take(thinned, batches(thinned), steps - first)
            rungs.append(rung(f"{name} thinned", thinned, first_j + rest_j))
    return rungs
