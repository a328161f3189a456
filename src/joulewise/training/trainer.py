"""Carries a recipe out, step by step; the loop stays the user's.

    trainer = Trainer(model, recipe, F.cross_entropy)
    batches = trainer.batches((images, labels), transform)
    for epoch in range(1, epochs + 1):
        for x, y in batches:
            trainer.step(x, y)
        with trainer.evaluating() as judged:
            decision = stopping.update(epoch, accuracy(judged))
        if decision.stops or trainer.over:
            break

Everything that a step needs is in `step`; whoever wants a loss of another shape gives a `loss` that makes it.
Under `torchrun` the same loop runs on every rank: gradients are exchanged, each rank gets its share of every batch, and
what is decided (a fall-back of the precision, a landing, the end of the budget) is decided once for all; see ranks.py.
`after_step(steps, model)` is called after each step that was taken. `trainer = trainer.thinned(x[:1])` cuts half of the
channels and trains on.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

from joulewise.compressing.pruning import BLOCK, prune
from joulewise.curves.curve import Curve
from joulewise.training import ranks
from joulewise.training.choices import Recipe
from joulewise.training.feeding import Batches
from joulewise.training.landing import Landing
from joulewise.training.optimising import Optimiser
from joulewise.training.precision import Guard
from joulewise.training.spending import Spending, spending
from joulewise.vocabulary.errors import UsageError

_STILL = 2  # evaluations without a new best, after which a transform left for later comes in


@final
class Trainer:
    """A training under way: places the model, takes steps, counts joules, lands inside a budget."""

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        loss: Callable[[Any, Any], Any],
        *,
        steps: int | None = None,
        weight_decay: float = 0.0,
        counter: Spending | None = None,
        after_step: Callable[[int, Any], None] | None = None,
    ) -> None:
        import torch

        torch.set_num_threads(recipe["threads"])
        self.recipe = recipe
        self._channels_last = recipe["memory_format"] == "channels_last"
        model = model.to(recipe.device)
        self.model = model.to(memory_format=torch.channels_last) if self._channels_last else model
        forward = self.model
        if ranks.world()[1] > 1:  # before the optimiser: rank 0's weights are everybody's first
            forward = torch.nn.parallel.DistributedDataParallel(self.model)
        self._forward = torch.compile(forward) if recipe["compile"] else forward
        self._loss, self._weight_decay, self._after_step = loss, weight_decay, after_step
        self.guard = Guard(recipe["precision"], recipe.device, agreed=ranks.every)
        self.optimiser = Optimiser(
            recipe["optimiser"],
            self.model,
            recipe["learning_rate"],
            steps=recipe.steps if steps is None else steps,
            weight_decay=weight_decay,
        )
        self._counter = counter or spending(recipe.device)
        self._from_j = self._began_j = self._counter.read()
        self._budget_j: float | None = None
        self._spent_out = False
        self._varying = False
        self._made: list[Batches] = []

    def batches(self, data: Any, transform: Callable[[Any], Any] | None = None, *, seed: int = 0) -> Batches:
        """Return the training set's batches, as the recipe has them: shuffled anew each time they are iterated over.

        Asked for again after steps were taken, as in a loop that makes a loader for each epoch or in a run that goes on
        from its checkpoint, the order is another one too.
        """
        made = Batches(
            data,
            self.recipe["batch_size"],
            transform=transform,
            workers=self.recipe["workers"],
            ahead=2 if self.recipe.device == "cuda" else 0,
            device=self.recipe.device,
            channels_last=self._channels_last,
            seed=seed + self.optimiser.step_count,
            transforming=self.recipe["transform"] == "always" or self._varying,
            share=ranks.world(),
        )
        self._made.append(made)
        return made

    def look(self, curve: Curve) -> bool:
        """Bring in a transform that was left for later, once the last two evaluations were no better than the best.

        Return whether it was brought in now.
        """
        best = curve.best
        if (
            self._varying
            or self.recipe["transform"] == "always"
            or best is None
            or len(curve) - 1 - best < _STILL
        ):
            return False
        self._varying = True
        for made in self._made:
            made.transforming = True
        return True

    def step(self, inputs: Any, targets: Any) -> Any:
        """Take one training step on a batch; return its loss (a tensor that holds no graph).

        A loss or gradients that are not finite change no weight; see precision.py.
        """
        with self.guard.computing():
            loss = self._loss(self._forward(inputs), targets)
        if not hasattr(loss, "backward"):
            raise UsageError(
                f"the loss is a {type(loss).__name__}, but must be a tensor that knows its gradient: leave out .item() and float()"
            )
        taken = self.guard.step(loss, self.optimiser)
        if taken and self._after_step is not None:
            self._after_step(self.optimiser.step_count, self.model)
        self._keep_to_budget()
        return loss.detach()

    def thinned(
        self, example: Any, *, ratio: float = 0.5, block: int = BLOCK, keep: Sequence[str] = ()
    ) -> Trainer:
        """Return the trainer of a copy with `ratio` of its channels cut, for the rest of this run: pruning while training.

        From here on a step and, later, a request are cheaper. Joules, budget, batches and the planned end go on; the
        optimiser begins anew, since its moments belonged to other weights. `example` and the rest: compressing's `prune`.
        """
        left = self.optimiser.steps_left
        if left is not None and left < 1:
            raise UsageError(
                "the schedule of this run has ended: nothing is left to train a thinned model for"
            )
        with self.evaluating() as judged:
            smaller = prune(judged, example, lambda _smaller: None, ratio=ratio, block=block, keep=keep)
        own = Trainer(
            smaller.module.train(),
            self.recipe,
            self._loss,
            steps=left,
            weight_decay=self._weight_decay,
            counter=self._counter,
            after_step=self._after_step,
        )
        own._from_j, own._budget_j, own._spent_out = self._from_j, self._budget_j, self._spent_out
        own._made, own._varying = self._made, self._varying
        return own

    def evaluating(self) -> AbstractContextManager[Any]:
        """Return a context in which the model has the weights to be judged and is in evaluation mode."""
        return self.optimiser.evaluating()

    def scaling(self, inputs: Any, targets: Any, *, steps: int = 8) -> ranks.Scaling:
        """Return how well the ranks scale on this batch; no step is taken, and the model stays as it is."""
        kept = [b.clone() for b in self.model.buffers()]

        def gradients(forward: Any) -> None:
            with self.guard.computing():
                loss = self._loss(forward(inputs), targets)
            loss.backward()
            self.optimiser.zero_grad()

        found = ranks.scaling(lambda: gradients(self.model), lambda: gradients(self._forward), steps=steps)
        for buffer, before in zip(self.model.buffers(), kept, strict=True):
            buffer.copy_(before)
        return found

    @property
    def spent_j(self) -> float:
        """Joules since this training began."""
        return self._counter.read() - self._from_j

    @property
    def joules_per_step(self) -> float:
        """Mean joules of a step so far, with whatever lay between the steps; 0 before the first."""
        done = self.optimiser.step_count
        return (self._counter.read() - self._began_j) / done if done else 0.0

    @property
    def over(self) -> bool:
        """Whether the schedule has ended, or the budget is spent."""
        return self._spent_out or self.optimiser.over

    def land(self) -> None:
        """Begin the short decay that ends the run; only `wsd` and `muon` can be landed, the others need not."""
        if self.optimiser.name in ("wsd", "muon"):
            self.optimiser.landing = self.optimiser.landing.land(self.optimiser.step_count)

    def land_within(self, joules: float) -> None:
        """Keep this training to so many joules from its start, its decay included."""
        if not joules > 0:
            raise UsageError(f"a budget of {joules:g} J is given, but must be above 0")
        self._budget_j = joules

    def save(self, path: str) -> None:
        """Write weights, optimiser and schedule to a file."""
        import torch

        kept = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        try:
            torch.save(kept, path)
        except (OSError, RuntimeError) as error:
            raise UsageError(f"checkpoint {path} cannot be written: {_first_line(error)}") from None

    def load(self, path: str) -> None:
        """Go on from a file that `save` wrote; refuses, in one line, what cannot be read, and changes nothing then."""
        import torch

        try:
            kept = torch.load(path, map_location=self.recipe.device, weights_only=True)
            if not (isinstance(kept, dict) and {"model", "optimiser"} <= kept.keys()):
                raise UsageError(
                    f"checkpoint {path} is none that a trainer's save wrote; nothing was changed"
                )
            before = {k: v.clone() for k, v in self.model.state_dict().items()}
            try:
                self.model.load_state_dict(kept["model"])
                self.optimiser.load_state_dict(kept["optimiser"])
            except (RuntimeError, KeyError, ValueError, UsageError):
                self.model.load_state_dict(before)
                raise
        except FileNotFoundError:
            raise UsageError(f"checkpoint {path} does not exist; nothing was changed") from None
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise UsageError(
                f"checkpoint {path} cannot be read ({_first_line(error)}); nothing was changed"
            ) from None

    def _keep_to_budget(self) -> None:
        if self._budget_j is not None:
            self._spent_out, self.optimiser.landing = ranks.once(self._by_budget)

    def _by_budget(self) -> tuple[bool, Landing]:
        """Return whether the budget is spent, and the schedule that keeps to it."""
        assert self._budget_j is not None  # noqa: S101 - asked only where there is one
        left_j, now, done = self._budget_j - self.spent_j, self.optimiser.landing, self.optimiser.step_count
        if self.optimiser.name not in ("wsd", "muon") or done < 8:
            return left_j <= 0, now
        return left_j <= 0, now.must_land(done, left_j, self.joules_per_step) or now


def _first_line(error: Exception) -> str:
    """Return what a library says of a file, as one short line without its colours."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than weights, and nothing is unpickled"
    if isinstance(error, KeyError | EOFError):
        return "it is no file of torch's"
    lines = re.sub("\x1b\\[[0-9;]*m", "", str(error)).strip().splitlines()
    if len(lines) > 1 and lines[0].endswith(":"):  # a heading; what follows is the reason
        return lines[1].strip()[:160]
    return lines[0][:160] if lines else type(error).__name__
