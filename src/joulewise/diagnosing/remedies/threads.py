"""As many threads as asked for, for every library that computes: set before the program imports any.

Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import os
from typing import Any

NAME = "threads"
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def attach(hand: Any, value: str) -> None:
    """Set the variables that OpenMP, MKL and OpenBLAS read at their start, and hold PyTorch to the number."""
    before = os.environ.get(_VARIABLES[0], "not set")
    os.environ.update(dict.fromkeys(_VARIABLES, value))
    hand.changed(NAME, f"OMP_NUM_THREADS={value} (was {before}), MKL and OpenBLAS alike")
    hand.when("torch", functools.partial(_hold, hand, int(value)))


def _hold(hand: Any, most: int, torch: Any) -> None:
    original = torch.set_num_threads
    original(most)

    @functools.wraps(original)
    def set_num_threads(count: Any) -> None:
        if isinstance(count, int) and count > most:
            hand.changed(NAME, f"torch.set_num_threads({count}) of the program is {most}")
            count = most
        original(count)

    torch.set_num_threads = set_num_threads
