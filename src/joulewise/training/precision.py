"""Precision with a guard: reduced precision for as long as loss and gradients stay finite, fp32 from then on.

A step whose loss or gradients are not finite is never taken, so the weights stay those of the last good step. fp16 scales
its loss (`torch.amp.GradScaler`), and there a step that overflows is part of the method. After three skipped steps in a
row the guard falls back to fp32 and says so once; a model that is not finite in fp32 either is refused in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, final

from joulewise.vocabulary.errors import JoulewiseError, UsageError

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_IN_A_ROW = 3  # skipped steps before the guard falls back
_SCALING = 8  # of which fp16 may need to find its scale: it starts high and halves


class NotFinite(JoulewiseError):  # noqa: N818 - it names the state
    """The model's loss or gradients are not finite in fp32 either; its weights are those of the last good step."""


@final
class Guard:
    """Computes losses and gradients in one precision, and falls back where they stop being finite.

    `precision` is the one in force, `fell_back` why it is no longer the one asked for (empty: it is). `agreed` says of a
    flag whether it is so on all ranks of a distributed run: a step is taken by all of them or by none.
    """

    def __init__(
        self, precision: str, device: str = "cpu", agreed: Callable[[bool], bool] = lambda here: here
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision is {precision!r}, but must be one of {', '.join(PRECISIONS)}")
        if precision == "tf32" and device != "cuda":
            raise UsageError("precision is 'tf32', which only NVIDIA GPUs have; take fp32 or bf16")
        import torch

        self.precision = precision
        self.device = device
        self._agreed = agreed
        self.fell_back = ""
        self._torch = torch
        self._skipped = 0
        self._steps = 0
        self._scaler = torch.amp.GradScaler(device) if precision == "fp16" else None
        self._tf32(precision == "tf32")

    def computing(self) -> AbstractContextManager[Any]:
        """Return the context for the forward pass and the loss."""
        half = {"bf16": self._torch.bfloat16, "fp16": self._torch.float16}.get(self.precision)
        context: AbstractContextManager[Any] = self._torch.autocast(
            self.device, half or self._torch.bfloat16, enabled=half is not None
        )
        return context

    def step(self, loss: Any, optimiser: Any) -> bool:
        """Take one step from this loss (gradients are cleared first); return whether it was taken.

        Raises NotFinite where fp32 does not help either.
        """
        optimiser.zero_grad(set_to_none=True)
        self._steps += 1
        here = bool(self._torch.isfinite(loss.detach()))
        if self._agreed(here):
            scaler = self._scaler
            (loss if scaler is None else scaler.scale(loss)).backward()
            if scaler is not None:
                scaler.unscale_(optimiser)
            finite = self._finite(optimiser)
            if scaler is not None:
                scaler.step(optimiser)  # takes the step only where it found no overflow
                scaler.update()
            elif finite:
                optimiser.step()
            if finite:
                self._skipped = 0
                return True
            why = "the gradients are not finite"
        else:
            why = (
                "the loss on another rank is not finite" if here else f"the loss is {float(loss.detach()):g}"
            )
        self._skip(why)
        return False

    def _finite(self, optimiser: Any) -> bool:
        grads = [p.grad for g in optimiser.param_groups for p in g["params"] if p.grad is not None]
        # one number that is finite only if all are: a sum of squares would overflow sooner than the gradients
        return (
            bool(self._torch.isfinite(self._torch.stack([g.abs().max() for g in grads])).all())
            if grads
            else True
        )

    def _skip(self, why: str) -> None:
        self._skipped += 1
        allowed = _SCALING if self._scaler is not None and self._steps <= 2 * _SCALING else _IN_A_ROW
        if self._skipped < allowed:
            return
        if self.precision == "fp32":
            raise NotFinite(
                f"{why} in fp32 for {self._skipped} steps in a row, after {self._steps - self._skipped} good ones; the "
                "weights are those of the last good step. Lower the learning rate, or look for a division by zero"
            )
        self.fell_back = (
            f"{why} in {self.precision} for {self._skipped} steps in a row: fp32 from step {self._steps}"
        )
        self.precision, self._scaler, self._skipped = "fp32", None, 0
        self._tf32(False)

    def _tf32(self, wanted: bool) -> None:
        if self.device == "cuda":
            self._torch.backends.cuda.matmul.allow_tf32 = wanted
            self._torch.backends.cudnn.allow_tf32 = wanted
