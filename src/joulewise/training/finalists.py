"""Which of the last checkpoints is the best, settled at the end on few samples: those on which the model hesitates.

Neighbouring checkpoints answer nearly all samples alike; where they differ, the model hesitates: its two likeliest answers
lie close together. One pass of the last model over the whole validation set says where. All finalists are then asked about
the most hesitant samples, half of them go, the rest are asked about the next ones, and so on (sequential halving, Karnin
et al. 2013): the same best model for the cost of a few passes instead of one for each checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any, final

from joulewise.vocabulary.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settled:
    """The finalist that was kept: its place in time (a step), the samples asked in all, how many finalists there were."""

    step: float
    asked: int
    finalists: int

    def __str__(self) -> str:
        return f"step {self.step:g} is the best of {self.finalists} checkpoints, by {self.asked} answers"


def halve(
    count: int, right: Callable[[int, Sequence[int]], int], order: Sequence[int], afford: int
) -> tuple[int, int]:
    """Return which of `count` candidates (0 is the oldest) is the best, and how many answers that took.

    `right(candidate, indices)` counts right answers; `order` are the samples, the most telling first; at most `afford`
    answers are asked for. Of equals the later one is kept. Pure but for what `right` does.
    """
    if count < 1:
        raise UsageError("there are no finalists: add the checkpoints as training goes")
    rounds, left, at, asked = max(1, ceil(log2(count))), list(range(count)), 0, 0
    score = dict.fromkeys(left, 0)
    while len(left) > 1:
        more = min(len(order) - at, afford // rounds // len(left))
        if more < 1:
            break
        for candidate in left:
            score[candidate] += right(candidate, order[at : at + more])
        at, asked = at + more, asked + more * len(left)
        left = sorted(left, key=lambda c: (score[c], c))[-ceil(len(left) / 2) :]
    return left[-1], asked


@final
class Finalists:
    """The newest checkpoints of a run, as copies of the weights; `keep` of them are held in memory."""

    def __init__(self, keep: int = 16) -> None:
        if keep < 2:
            raise UsageError(f"keep is {keep}, but finalists are at least 2")
        self._kept: deque[tuple[float, dict[str, Any]]] = deque(maxlen=keep)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, step: float, model: Any) -> None:
        """Keep the model's weights as they are at this step; the oldest make room."""
        self._kept.append((step, {k: v.detach().clone() for k, v in model.state_dict().items()}))

    def settle(self, model: Any, inputs: Any, targets: Any, *, afford: int, batch: int = 250) -> Settled:
        """Give the model the weights of the best finalist; `afford` is how many answers may be asked for in all.

        `inputs` and `targets` are the whole validation set as tensors, the model's outputs are one score for each class.
        Where less than one pass is affordable the newest is kept unasked, and the less is left after it, the fewer of the
        newest are asked.
        """
        if not self._kept:
            raise UsageError("there are no finalists: add the checkpoints as training goes")
        import torch

        newest, whole = len(self._kept) - 1, len(inputs)
        if afford <= whole or newest == 0:
            model.load_state_dict(self._kept[newest][1])
            return Settled(self._kept[newest][0], 0, len(self._kept))

        was = model.training
        model.eval()

        def scores(of: Any) -> Any:
            with torch.inference_mode():
                return torch.cat([model(part) for part in of.split(batch)])

        model.load_state_dict(self._kept[newest][1])
        # each needs about a tenth of the set, or its halving is luck: with less to ask, fewer are asked
        asked_of = min(len(self._kept), max(2, 10 * (afford - whole) // whole))
        first = len(self._kept) - asked_of
        two = scores(inputs).topk(2, 1).values
        hesitant = (two[:, 0] - two[:, 1]).argsort()
        inputs, targets = inputs[hesitant], targets[hesitant]

        def right(candidate: int, index: Sequence[int]) -> int:
            model.load_state_dict(self._kept[first + candidate][1])
            part = slice(index[0], index[-1] + 1)
            return int((scores(inputs[part]).argmax(1) == targets[part]).sum())

        best, asked = halve(asked_of, right, range(whole), afford - whole)
        model.load_state_dict(self._kept[first + best][1])
        model.train(was)
        return Settled(self._kept[first + best][0], whole + asked, asked_of)
