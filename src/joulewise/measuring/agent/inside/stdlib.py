"""Take from the standard library without disturbing the program: its own `mmap.py` is not ours, nor ours its own."""

from __future__ import annotations

import os
import sys
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from typing import Any


def load(name: str) -> Any:
    """Return a module of the standard library; it is left out of `sys.modules` unless it is there already."""
    if name in sys.builtin_module_names:
        return __import__(name)
    folder = os.path.dirname(os.__file__)
    known = sys.modules.get(name)
    if known is not None and str(getattr(known, "__file__", "")).startswith(folder):
        return known
    spec = PathFinder.find_spec(name, [folder, os.path.join(folder, "lib-dynload")])
    if spec is None or spec.loader is None:
        raise ImportError(f"no {name} in {folder}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_LIBRARY = (os.path.dirname(os.__file__), os.path.dirname(os.path.abspath(__file__)), "<frozen")
_PACKAGES = ("/site-packages/", "/dist-packages/")


def is_library(path: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to us, and not to the program."""
    return path.startswith(_LIBRARY) or any(p in path for p in _PACKAGES)
