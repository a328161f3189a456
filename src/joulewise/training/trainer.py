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
`after_step(steps, model)` is called after each step that was taken: where pruning while training keeps its zeros.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, final

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
        self._loss, self._after_step = loss, after_step
        self.guard = Guard(recipe["precision"], recipe.device, agreed=ranks.every)
        self.optimiser = Optimiser(
            recipe["optimiser"],
            self.model,
            recipe["learning_rate"],
            steps=recipe.steps if steps is None else steps,
            weight_decay=weight_decay,
        )
        self._counter = counter or spending(recipe.device)
        self._from_j = self._counter.read()
        self._budget_j: float | None = None
        self._spent_out = False
        self._varying = False
        self._made: list[Batches] = []

    def batches(self, data: Any, transform: Callable[[Any], Any] | None = None, *, seed: int = 0) -> Batches:
        """Return the training set's batches, as the recipe has them."""
        made = Batches(
            data,
            self.recipe["batch_size"],
            transform=transform,
            workers=self.recipe["workers"],
            ahead=2 if self.recipe.device == "cuda" else 0,
            device=self.recipe.device,
            channels_last=self._channels_last,
            seed=seed,
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
        taken = self.guard.step(loss, self.optimiser)
        if taken and self._after_step is not None:
            self._after_step(self.optimiser.step_count, self.model)
        self._keep_to_budget()
        return loss.detach()

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
        """Joules since this trainer was made."""
        return self._counter.read() - self._from_j

    @property
    def joules_per_step(self) -> float:
        """Mean joules of a step so far, with whatever lay between the steps; 0 before the first."""
        return self.spent_j / self.optimiser.step_count if self.optimiser.step_count else 0.0

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

        torch.save({"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}, path)

    def load(self, path: str) -> None:
        """Go on from a file that `save` wrote; refuses, in one line, what cannot be read, and changes nothing then."""
        import torch

        try:
            kept = torch.load(path, map_location=self.recipe.device, weights_only=True)
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
            why = str(error).strip().splitlines()
            raise UsageError(
                f"checkpoint {path} cannot be read ({why[0] if why else type(error).__name__}); nothing was changed"
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
