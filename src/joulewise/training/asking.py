"""What a model answers to samples that trained nothing: its error, its mean loss, and the joules of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joulewise.training.spending import Spending

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Answers:
    """Error (a share, at least one wrong answer: none is no proof of none), mean loss, joules a request."""

    error: float
    loss: float
    request_j: float


def ask(
    model: Any, held: tuple[Any, Any], loss: Callable[[Any, Any], Any], counter: Spending, device: str
) -> Answers:
    """Return what a model in evaluation mode answers to `held` (inputs, classes), asked 256 at a time.

    The first batch is asked once more beforehand: what only a first call costs is no request's.
    """
    import torch

    inputs, classes = (t.split(_AT_ONCE) for t in held)
    total = len(held[0])
    with torch.inference_mode():
        model(inputs[0].to(device))
        before_j = counter.read()
        told = [model(x.to(device)) for x in inputs]
        request_j = (counter.read() - before_j) / total
        wrong, lost = 0, 0.0
        for scores, y in zip(told, (y.to(device) for y in classes), strict=True):
            wrong += int((scores.argmax(1) != y).sum())
            lost += float(loss(scores, y)) * len(y)
    return Answers(max(wrong, 1) / total, lost / total, request_j)
