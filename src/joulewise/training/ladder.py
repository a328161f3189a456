"""A ladder of smaller models at low fidelity: the smallest that will hold the tolerance, or a plain no.

Each rung is trained for a ninth of the run. What it will be after the whole run is said as errors beside the largest's:

    ln(error of the small / error of the large), at the end  =  level + slope * the same at a ninth  +- spread

Where there are four rungs or more, the ladder calibrates itself: what a twenty-seventh of the run said of a ninth, for
models of this family on these data, is taken for what a ninth says of the whole (`calibrated`). Else the constants are
those of half of EC-NAS's five-vertex networks, whose ranks hold less well than a family's of one shape. Both are judged
by `bench/train_ladder.py`. A rung is said to hold the tolerance only if it does so with 90 %: early ranks are weak, so the
ladder often cannot tell, says so, and never promises. Pure; `climb` is the shell that trains the rungs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean, linear_regression, quantiles
from typing import Any

from joulewise.training.choices import Recipe
from joulewise.training.spending import Spending, spending
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


ECNAS = Constants(level=0.279, slope=0.28, reach=0.265)


@dataclass(frozen=True, slots=True)
class Rung:
    """A model trained at low fidelity: its error there (0 to 1), what a sample costs in training and a request after it."""

    name: str
    weights: int
    error: float
    training_j: float
    request_j: float


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


@dataclass(frozen=True, slots=True)
class Ladder:
    """All standings, the largest first, and the smallest rung that holds (None: no)."""

    standings: tuple[Standing, ...]
    smallest: Rung | None
    tolerance: float

    def __str__(self) -> str:
        lines = [str(s) for s in self.standings]
        if self.smallest is None:
            lines.append(f"no: no smaller model can be told to stay within {self.tolerance:g} of the largest")
        else:
            lines.append(f"take {self.smallest.name}, and confirm it with one whole run")
        return "\n".join(lines)


def calibrated(before: Sequence[Rung], rungs: Sequence[Rung]) -> Constants:
    """Return this ladder's own constants, from the same rungs at a third of their fidelity. Pure.

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
    return Constants(level, slope, quantiles(left, n=10, method="inclusive")[8])


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
    ordered = sorted(rungs, key=lambda r: -r.weights)
    largest = ordered[0]
    standings = []
    for rung in ordered[1:]:
        middle = constants.level + constants.slope * log(rung.error / largest.error)
        expected, high = (min(1.0, largest_error * exp(m)) for m in (middle, middle + constants.reach))
        standings.append(
            Standing(
                rung,
                expected,
                high,
                high <= largest_error + tolerance,
                1 - rung.training_j / largest.training_j if largest.training_j else 0.0,
                1 - rung.request_j / largest.request_j if largest.request_j else 0.0,
            )
        )
    holding = [s.rung for s in standings if s.holds]
    return Ladder(tuple(standings), holding[-1] if holding else None, tolerance)


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
) -> list[Rung]:
    """Train each model for a ninth of `epochs` by the recipe, landed at its end; return the rungs for `judge`.

    With `fidelity=BEFORE` for a twenty-seventh: what `calibrated` wants beside it, for a third more. `finish` makes of a
    trained model the one that answers requests (adapters merged, weights pruned); error and requests are measured on it.
    `models` names functions that make a model; `held` are inputs and labels that train nothing. A model by timm's name is
    `{"resnet18": lambda: timm.create_model("resnet18", num_classes=10)}`.
    """
    import torch

    from joulewise.training.feeding import rows
    from joulewise.training.trainer import Trainer

    if not epochs > 0:
        raise UsageError(f"epochs is {epochs:g}, but must be above 0")
    if not 0 < fidelity <= 1:
        raise UsageError(
            f"fidelity is {fidelity:g}, but must lie above 0 and at most at 1: a share of the run"
        )
    counter = counter or spending(recipe.device)
    steps = max(8, int(epochs * fidelity * rows(data) / recipe["batch_size"]))
    rungs = []
    for name, make in models.items():
        torch.manual_seed(seed)
        model = make()
        trainer = Trainer(model, recipe, loss, steps=steps, counter=counter)
        batches = trainer.batches(data, transform, seed=seed)
        while trainer.optimiser.step_count < steps:
            before = trainer.optimiser.step_count
            for x, y in batches:
                trainer.step(x, y)
                if trainer.optimiser.step_count >= steps:
                    break
            if trainer.optimiser.step_count == before:
                raise UsageError(f"{name} took no step in a whole epoch: its loss is not finite")
        each_j = trainer.spent_j / (steps * recipe["batch_size"])
        with trainer.evaluating() as judged, torch.inference_mode():
            served = finish(copy.deepcopy(judged)).eval()
            before_j, wrong = counter.read(), 0
            for x, y in zip(held[0].split(256), held[1].split(256), strict=True):
                wrong += int((served(x.to(recipe.device)).argmax(1).cpu() != y).sum())
        request_j = (counter.read() - before_j) / len(held[0])
        error = max(wrong, 1) / len(held[0])
        rungs.append(Rung(name, sum(p.numel() for p in model.parameters()), error, each_j, request_j))
    return rungs
