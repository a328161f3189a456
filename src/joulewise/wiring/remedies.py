"""What can be changed inside a program, and how the agent there is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


# What can be changed inside a program, by the module that does it; the agent there loads the file by its place.
REMEDIES: Mapping[str, str] = {
    "threads": "joulewise.diagnosing.remedies.threads",
    "workers": "joulewise.diagnosing.remedies.workers",
    "batch": "joulewise.diagnosing.remedies.batch",
    "cache": "joulewise.diagnosing.remedies.cache",
    "precision": "joulewise.diagnosing.remedies.precision",
    "validate": "joulewise.diagnosing.remedies.validate",
    "early-stop": "joulewise.diagnosing.remedies.early_stop",
    "sandbox": "joulewise.diagnosing.remedies.sandbox",
    "trial": "joulewise.diagnosing.remedies.trial",
}


def remedied(asked: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that has the agent change a program: a value for each of `REMEDIES` that is asked for."""
    from joulewise.measuring.agent.inside.hand import VARIABLE

    root = Path(__file__).parents[2]
    lines = (
        f"{name}\t{value}\t{root.joinpath(*REMEDIES[name].split('.'))}.py" for name, value in asked.items()
    )
    return {VARIABLE: "\n".join(lines)}
