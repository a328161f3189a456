"""Small runs of copies of a model, through their own whole schedules: what is learned from how many joules.

An option that is to be judged by what it teaches trains a copy of the model for a few dozen steps, its decay or averaging
included, and is judged as it lands, on held samples. How sure the order of two options is, the held samples say
themselves: the losses of their parts differ in pairs (`surely_lowest`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt
from statistics import fmean, stdev
from typing import Any, final

from joulewise.training.choices import LEAST_GAIN
from joulewise.training.landing import Landing
from joulewise.training.optimising import Optimiser
from joulewise.training.precision import Guard, NotFinite
from joulewise.training.sampling import Samples
from joulewise.training.spending import Spending
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.student import t95


@dataclass(frozen=True, slots=True)
class Ran:
    """A small run: its losses on the parts of the held samples (none where it diverged), the joules of its steps."""

    losses: tuple[float, ...]
    joules: float

    @property
    def loss(self) -> float:
        """The mean loss on the held samples; infinite where the run diverged."""
        return fmean(self.losses) if self.losses else inf


def surely_lowest(runs: Sequence[Ran], least_gain: float = LEAST_GAIN) -> int:
    """Return the first run that the best does not beat surely: by `least_gain`, and beyond what the held samples resolve.

    Options stand simplest first. Sure is 95 % by Student's t over the paired differences of the parts. Pure.
    """
    best = min(runs, key=lambda r: r.loss, default=None)
    if best is None or not isfinite(best.loss):
        raise UsageError(
            "every learning rate that was tried diverged; scale the inputs, or keep a learning_rate of your own"
        )
    return next(i for i, run in enumerate(runs) if not _beaten(run, best, least_gain))


def _beaten(run: Ran, best: Ran, least_gain: float) -> bool:
    if not isfinite(run.loss):
        return True
    gap, n = run.loss - best.loss, len(run.losses)
    if n < 2:
        return gap > least_gain * abs(best.loss)
    differences = [a - b for a, b in zip(run.losses, best.losses, strict=True)]
    return gap > max(least_gain * abs(best.loss), t95(n - 1) * stdev(differences) / sqrt(n))


@final
class Track:
    """Where copies of one model race on one pool of samples; `channels_last`, `precision` hold for what comes next."""

    def __init__(
        self, model: Any, loss: Callable[[Any, Any], Any], samples: Samples, device: str, counter: Spending
    ) -> None:
        import torch

        self._torch = torch
        self._model, self._loss, self._samples = model, loss, samples
        self._device, self._counter = device, counter
        self.channels_last, self.precision = False, "fp32"
        self.trained = 0

    def joules(self) -> float:
        """Return the counter, once the device has done what it was given."""
        if self._device == "cuda":
            self._torch.cuda.synchronize()
        return self._counter.read()

    def copied(self) -> Any:
        """Return a copy of the model, placed and in training mode."""
        model = copy.deepcopy(self._model).to(self._device).train()
        return model.to(memory_format=self._torch.channels_last) if self.channels_last else model

    def stepper(self, size: int, compiled: bool = False) -> Callable[[], None]:
        """Return a function that takes one training step of a copy; it raises NotFinite where the precision fails."""
        model, channels_last = self.copied(), self.channels_last
        forward = self._torch.compile(model) if compiled else model
        optimiser = Optimiser("wsd", model, 1e-4)
        guard = Guard(self.precision, self._device)
        number = 0

        def step() -> None:
            nonlocal number
            inputs, targets = self._samples.batch(number, size, channels_last)
            with guard.computing():
                loss = self._loss(forward(inputs), targets)
            guard.step(loss, optimiser)
            if guard.fell_back:
                raise NotFinite(guard.fell_back)
            number += 1
            self.trained += size

        return step

    def race(self, name: str, rate: float, size: int, steps: int, *, plain: bool = False) -> Ran:
        """Train a copy through a whole schedule of so many steps, and judge it on the held samples."""
        before_j = self.joules()
        model = self.copied()
        optimiser = Optimiser(name, model, rate, steps=steps)
        guard = Guard(self.precision, self._device)
        try:
            for number in range(steps):
                inputs, targets = self._samples.batch(number, size, self.channels_last, plain=plain)
                with guard.computing():
                    loss = self._loss(model(inputs), targets)
                guard.step(loss, optimiser)
                self.trained += size
        except NotFinite:
            return Ran((), self.joules() - before_j)
        used_j = self.joules() - before_j
        with optimiser.evaluating() as judged, self._torch.inference_mode(), guard.computing():
            losses = [float(self._loss(judged(x), y)) for x, y in self._samples.held(self.channels_last)]
        return Ran(tuple(losses) if all(map(isfinite, losses)) else (), used_j)

    def rates(self, size: int) -> list[float]:
        """Return learning rates to race, by a range test: the rate rises until the loss does (Smith 2017)."""
        low, high, steps = 1e-5, 1.0, 60
        model = self.copied()
        optimiser = Optimiser("wsd", model, low)
        optimiser.landing = Landing()
        guard = Guard(self.precision, self._device)
        smooth, best, at = 0.0, inf, low
        for step in range(steps):
            rate = exp(log(low) + (log(high) - log(low)) * step / (steps - 1))
            for group in optimiser.param_groups:
                group["base"] = rate
            inputs, targets = self._samples.batch(step, size, self.channels_last)
            with guard.computing():
                loss = self._loss(model(inputs), targets)
            value = float(loss.detach())
            if not isfinite(value):
                break
            smooth = 0.8 * smooth + 0.2 * value
            level = smooth / (1 - 0.8 ** (step + 1))
            if level < best:
                best, at = level, rate
            if level > 2 * best:
                break
            guard.step(loss, optimiser)
            self.trained += size
        return [at * f for f in (0.4, 0.16, 0.064)]
