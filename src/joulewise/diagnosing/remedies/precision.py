"""Forward passes in bfloat16, by the framework's own setting or by PyTorch's autocast around the model.

Lightning, Transformers and Keras are set where the program sets nothing itself. What autocast gives back is float32 again.
bfloat16 has the range of float32, so no gradient scaler is needed; float16 would need one in the program.
Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

NAME = "precision"


def attach(hand: Any, value: str) -> None:
    """Wrap the call of the outermost module when PyTorch is there."""
    assert value == "bf16"  # noqa: S101 - the door has checked it
    hand.when("torch", functools.partial(_wrap, hand))
    for module in ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer"):
        hand.when(module, functools.partial(_lightning, hand))
    hand.when("transformers.training_args", functools.partial(_transformers, hand))
    hand.when("keras.src.dtype_policies.dtype_policy", functools.partial(_keras, hand))


def _pays(hand: Any) -> bool:
    """Whether bfloat16 can be faster here: a GPU, or a processor that has its instructions. A trial finds out."""
    torch = sys.modules.get("torch")
    if hand.trial or _has_bf16() or (torch is not None and torch.cuda.is_available()):
        return True
    hand.left(NAME, "this processor has no bfloat16 instructions: it would be slower")
    return False


def _lightning(hand: Any, module: Any) -> None:
    original = module.Trainer.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if kwargs.get("precision") is not None or kwargs.get("plugins"):
            hand.left(
                NAME, f"Lightning: the program sets precision={kwargs.get('precision') or 'by a plugin'}"
            )
        elif _pays(hand):
            kwargs["precision"] = "bf16-mixed"
            hand.changed(NAME, "Lightning: Trainer(precision='bf16-mixed')")
        original(self, *args, **kwargs)

    module.Trainer.__init__ = __init__


def _transformers(hand: Any, module: Any) -> None:
    arguments = module.TrainingArguments
    original = arguments.__post_init__

    @functools.wraps(original)
    def __post_init__(self: Any) -> None:  # noqa: N807
        if self.bf16 or self.fp16:
            hand.left(NAME, f"Transformers: the program sets {'bf16' if self.bf16 else 'fp16'}")
        elif _pays(hand):
            self.bf16 = True
            hand.changed(NAME, "Transformers: TrainingArguments(bf16=True)")
        original(self)

    arguments.__post_init__ = __post_init__


def _keras(hand: Any, module: Any) -> None:
    """Set Keras' global policy; a program that sets one later has its own way."""
    if _pays(hand):
        module.set_dtype_policy("mixed_bfloat16")
        hand.changed(NAME, "Keras: set_dtype_policy('mixed_bfloat16'), its weights stay float32")


def _wrap(hand: Any, torch: Any) -> None:
    module = torch.nn.Module
    original = module.__call__
    known: dict[type, str] = {}  # by class: the device to cast on, "" to leave it alone
    inside = [False]
    home = sys.modules["torch.nn.modules.loss"]
    losses = tuple(c for c in vars(home).values() if isinstance(c, type) and c.__module__ == home.__name__)

    def device_of(model: Any) -> str:
        first = next(model.parameters(), None)
        name = type(model).__name__
        if first is None or isinstance(model, losses):
            return ""
        if first.dtype != torch.float32:
            hand.left(NAME, f"{name} computes in {first.dtype} already")
            return ""
        device = str(first.device.type)
        if torch.is_autocast_enabled(device):  # by its framework, or by itself
            return ""
        if device == "cpu" and not _pays(hand):
            return ""
        hand.changed(NAME, f"{name} computes in bfloat16 (autocast on {device}), its weights stay float32")
        return device

    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if inside[0]:
            return original(self, *args, **kwargs)
        device = known.get(type(self))
        if device is None:
            device = known[type(self)] = device_of(self)
        if not device or torch.is_autocast_enabled(device):
            return original(self, *args, **kwargs)
        inside[0] = True
        try:
            with torch.autocast(device, dtype=torch.bfloat16):
                out = original(self, *args, **kwargs)
        finally:
            inside[0] = False
        return _widened(torch, out)

    module.__call__ = __call__


def _widened(torch: Any, out: Any) -> Any:
    if isinstance(out, torch.Tensor):
        return out.float() if out.dtype == torch.bfloat16 else out
    if type(out) in (tuple, list):
        return type(out)(_widened(torch, part) for part in out)
    if isinstance(out, dict):  # the outputs of Transformers are dictionaries
        for key in out:
            out[key] = _widened(torch, out[key])
    return out


def _has_bf16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return any(word in file.read(20_000) for word in ("avx512_bf16", "amx_bf16", " bf16"))
    except OSError:
        return False
