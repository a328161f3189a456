"""Low-rank adapters merged into the weights that they adapt: the same answers from a plain module, and no extra layers to compute."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from joulewise.vocabulary.errors import UsageError

_WEIGHTS = "adapter_model.safetensors"


def merge(model: Any, adapter: str | Path | None = None) -> Any:
    """Return a plain PyTorch module with its low-rank adapters merged; `model` itself is left as it is.

    `model` is a PEFT model, or the module that the adapter in the folder `adapter` was trained for; its weights are read
    from safetensors only. W + B A (alpha / r) takes W's place (Hu et al., LoRA, 2021). Raises UsageError.
    """
    try:
        from peft import PeftModel
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise UsageError(
            f"adapters need {error.name}, not installed here: pip install 'joulewise[compress-torch]'"
        ) from None
    told = copy.deepcopy(model)
    if adapter is not None:
        place = Path(adapter)
        if not (place / _WEIGHTS).is_file():
            raise UsageError(
                f"{place} holds no {_WEIGHTS}: adapters are read from that form only, nothing is unpickled"
            )
        told = PeftModel.from_pretrained(told, str(place))
    if not isinstance(told, PeftModel):
        raise UsageError(
            f"a {type(model).__name__} has no adapters to merge: give a PEFT model, or the adapter's folder"
        )
    merged = told.merge_and_unload(safe_merge=True)
    left = [name for name, layer in merged.named_modules() if isinstance(layer, BaseTunerLayer)]
    if left:
        raise UsageError(f"the adapter of {left[0]!r} is of a kind that cannot be merged")
    return merged
