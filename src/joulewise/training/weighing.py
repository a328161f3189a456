"""Joules and seconds per sample of several ways to take the same training step, interleaved.

Rounds are interleaved so that a busy machine troubles all ways alike, and the least of them counts: what another program
takes is never a saving. A way that is hopeless after its first round is not measured again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from joulewise.training.choices import Option
from joulewise.training.precision import NotFinite
from joulewise.vocabulary.errors import UsageError

HOPELESS = 1.5  # times the least joules so far: such an option is not measured again
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Way:
    """One way to take a step: the step itself, its samples, and what sets the stage for it (for instance threads)."""

    step: Callable[[], None]
    samples: int
    stage: Callable[[], object] = lambda: None


def weighed(ways: Mapping[Any, Way], joules: Callable[[], float]) -> list[Option]:
    """Return each way with its joules and seconds per sample, or why it could not be measured; `joules` counts."""
    least_j: dict[Any, float] = {}
    least_s: dict[Any, float] = {}
    why: dict[Any, str] = {}
    for turn in range(_ROUNDS + 1):  # the first warms up
        hopeless = HOPELESS * min(least_j.values(), default=inf)
        for name, way in ways.items():
            if name in why or least_j.get(name, 0.0) > hopeless:
                continue
            way.stage()
            steps = max(2, 256 // way.samples) if turn else 1
            before_j, before_s = joules(), time.perf_counter()
            try:
                for _ in range(steps):
                    way.step()
            except (RuntimeError, NotFinite) as error:
                why[name] = str(error).splitlines()[0][:120]
                least_j.pop(name, None)
                continue
            after_j, after_s = joules(), time.perf_counter()
            if turn:
                each = steps * way.samples
                least_j[name] = min(least_j.get(name, inf), (after_j - before_j) / each)
                least_s[name] = min(least_s.get(name, inf), (after_s - before_s) / each)
    if not least_j:
        raise UsageError(f"the model cannot be trained as it is: {next(iter(why.values()))}")
    return [Option(n, least_j.get(n), least_s.get(n), why=why.get(n, "")) for n in ways]
