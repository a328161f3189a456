"""Compressing: make a model smaller and keep what it knows.

    sources.py ── an ONNX file ──> variants.py ── candidates ──> metrics.py ── quality gate ──> costing.py ── energy gate ──> Compressed
      ONNX, scikit-learn, PyTorch    dynamic and static int8, fp16    the user's own task, with its noise    on this host, at the batches expected

A variant is kept if both gates pass: its drop on the user's own metric is certainly no more than allowed, and a request certainly
costs less than with fp32. What cannot be told does not pass. Each that is left out carries its reason; what compressing itself
has spent, and from how many requests on it pays, is told with what is kept. The gates (`gates.py`) are pure.

`compress.py` goes through all of it and returns a Compressed; `serving/compressed.py` makes a model folder of it. Training is the
user's own: `pruning.py` cuts channels and calls the user's function to fine-tune, `adapters.py` merges low-rank adapters.
Everything is loaded from ONNX and safetensors; nothing is unpickled.

Start reading at compress.py. Terms: a candidate is a variant before the gates; a drop is how much worse its metric is than fp32's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulewise.compressing.adapters import merge as merge
    from joulewise.compressing.pruning import prune as prune

_NAMES = {"merge": "adapters", "prune": "pruning"}
__all__ = ["merge", "prune"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'joulewise.compressing' has no attribute {name!r}")
    return getattr(import_module(f"joulewise.compressing.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
