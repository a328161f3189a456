"""The tests of serving need its extra, and `onnx` to make models."""

from __future__ import annotations

import importlib.util

_PURE = {
    "test_batching.py",
    "test_cache.py",
    "test_energy.py",
    "test_canary.py",
    "test_choosing.py",
    "test_folder.py",
    "test_sleeping.py",
}
_NEEDED = ("numpy", "onnx", "onnxruntime", "orjson", "httptools")
_MISSING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def pytest_ignore_collect(collection_path):
    """Leave out, where no extra is installed, what needs one; the decisions are tested there, too."""
    return (
        True
        if _MISSING and collection_path.name.startswith("test_") and collection_path.name not in _PURE
        else None
    )
