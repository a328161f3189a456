"""How well a model takes to losing channels: a quickly trained copy is pruned, fine-tuned and asked again.

`cut` measures it at the ladder's low fidelity, so that a choice of model can look ahead to what serves. What is said of
the whole run is the error expected there times the ratio of the errors after and before, at low fidelity: judged by
`bench/train_ladder.py --fmnist`. The cutting is compressing's (pruning.py there: whole channels, in SIMD blocks);
cutting while the training still runs is `Trainer.thinned`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joulewise.compressing.pruning import BLOCK, prune
from joulewise.training.asking import Answers, ask
from joulewise.training.choices import Recipe
from joulewise.training.spending import Spending
from joulewise.training.trainer import Trainer
from joulewise.vocabulary.errors import UsageError

FINETUNED = 1 / 3  # of the steps that the model was trained for
THINNED_AT = 1 / 3  # of a run: where `climb` cuts what is thinned while it trains


@dataclass(frozen=True, slots=True)
class Cut:
    """What `ratio` of the channels gone does to a trained model, on held samples, fine-tuning included.

    `finetune_j` is what fine-tuning cost a sample of the training before it; `fewer_macs` how many times fewer
    multiply-accumulates a request takes. Where nothing can be cut, `why` says so and the figures are the whole model's.
    """

    ratio: float
    before: Answers
    after: Answers
    finetune_j: float
    fewer_macs: float
    why: str = ""

    @property
    def error_ratio(self) -> float:
        """How many times the whole model's error the cut one's is."""
        return self.after.error / self.before.error


def cut(
    model: Any,
    recipe: Recipe,
    batches: Callable[[Trainer], Any],
    held: tuple[Any, Any],
    *,
    loss: Callable[[Any, Any], Any],
    steps: int,
    ratio: float,
    block: int = BLOCK,
    counter: Spending,
) -> Cut:
    """Return what cutting `ratio` of its channels does to a model that was trained for `steps`; the model stays as it is.

    `batches(trainer)` gives the training's batches. Fine-tuning takes a third of the steps, by the same recipe.
    """
    before = ask(model, held, loss, counter, recipe.device)
    spent_j = 0.0

    def finetune(smaller: Any) -> None:
        nonlocal spent_j
        trainer = Trainer(smaller, recipe, loss, steps=max(8, int(steps * FINETUNED)), counter=counter)
        spent_j = take(trainer, batches(trainer), trainer.optimiser.steps or 0)
        with trainer.evaluating() as judged:
            kept = {k: v.clone() for k, v in judged.state_dict().items()}
        smaller.load_state_dict(kept)

    try:
        pruned = prune(model, held[0][:2].to(recipe.device), finetune, ratio=ratio, block=block)
    except UsageError as error:
        return Cut(ratio, before, before, 0.0, 1.0, str(error))
    after = ask(pruned.module, held, loss, counter, recipe.device)
    return Cut(ratio, before, after, spent_j / (steps * recipe["batch_size"]), pruned.fewer_macs)


def take(trainer: Trainer, batches: Any, steps: int) -> float:
    """Take so many steps with a trainer, through its batches again and again; return their joules."""
    before_j, end = trainer.spent_j, trainer.optimiser.step_count + steps
    while trainer.optimiser.step_count < end:
        before = trainer.optimiser.step_count
        for x, y in batches:
            trainer.step(x, y)
            if trainer.optimiser.step_count >= end:
                break
        if trainer.optimiser.step_count == before:
            raise UsageError("no step was taken in a whole epoch: the loss is not finite")
    return trainer.spent_j - before_j
