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
    for module, name in (("xgboost.training", "nthread"), ("lightgbm.engine", "num_threads")):
        hand.when(module, functools.partial(_boosted, hand, int(value), name))
    hand.when("joblib.parallel", functools.partial(_joblib, hand, int(value)))


def _boosted(hand: Any, most: int, name: str, module: Any) -> None:
    """Hold a booster's own parameter, which goes before the variables. Both libraries read it by several names."""
    original = module.train
    names = {"nthread", "nthreads", "n_jobs", "num_thread", "num_threads"}

    @functools.wraps(original)
    def train(params: Any, *args: Any, **kwargs: Any) -> Any:
        given = {k: v for k, v in dict(params or {}).items() if k in names and isinstance(v, int)}
        if any(v > most or v <= 0 for v in given.values()):
            params = {k: v for k, v in dict(params).items() if k not in names}
            params[name] = most
            hand.changed(
                NAME, f"{module.__name__.partition('.')[0]} trains with {name}={most} instead of {given}"
            )
        return original(params, *args, **kwargs)

    module.train = train


def _joblib(hand: Any, most: int, module: Any) -> None:
    """Hold the jobs that joblib runs at once: scikit-learn's n_jobs."""
    original = module.Parallel.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        n_jobs = args[0] if args else kwargs.get("n_jobs")
        if isinstance(n_jobs, int) and (n_jobs > most or n_jobs < 0):
            if args:
                args = (most, *args[1:])
            else:
                kwargs["n_jobs"] = most
            hand.changed(
                NAME, f"joblib runs {most} job{'s' if most > 1 else ''} at once instead of n_jobs={n_jobs}"
            )
        original(self, *args, **kwargs)

    module.Parallel.__init__ = __init__


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
