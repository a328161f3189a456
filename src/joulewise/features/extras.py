"""Libraries that this room needs come with its extra; who has not installed it is told so in one line."""

from __future__ import annotations

from importlib.util import find_spec

from joulewise.vocabulary.errors import UsageError


def need(module: str, extra: str = "features") -> None:
    """Raise UsageError with the line to run if `module` is not installed."""
    if find_spec(module) is None:
        raise UsageError(f"{module} is not installed; install it with: pip install 'joulewise[{extra}]'")
