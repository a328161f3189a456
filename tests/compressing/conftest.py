"""The tests of compressing need its extra; the gates are pure and tested without. The verbs' fixtures are used here, too."""

from __future__ import annotations

import importlib.util

from tests.cli.conftest import home, joulewise

__all__ = ["home", "joulewise"]

_NEEDED = ("numpy", "onnx", "onnxruntime")
_MISSING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def pytest_ignore_collect(collection_path):
    """Leave out, where no extra is installed, what needs one."""
    return (
        True
        if _MISSING and collection_path.name.startswith("test_") and collection_path.name != "test_gates.py"
        else None
    )
