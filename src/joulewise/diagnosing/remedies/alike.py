"""Whether items of a data set come out the same each time, and what making one takes.

Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

_FEWEST, _MOST = 3, 16
_LONGEST_S = 0.25  # then it is tried enough


class Made:
    """A few items made twice: the first ones, the seconds that each of them took, and why none may be kept ("" if they may)."""

    def __init__(self, dataset: Any) -> None:
        self.items: list[Any] = []
        self.why_not = ""
        took_s: list[float] = []
        count, before, began_s = len(dataset), states(), time.perf_counter()
        try:
            for number in spread(count, _MOST):
                one = make(dataset, [number])
                if states() != before:
                    self.why_not = "its items draw random numbers (augmentation), so they are made anew"
                    break
                at_s = time.perf_counter()
                other = make(dataset, [number])
                took_s.append(time.perf_counter() - at_s)
                if not same(one, other):
                    self.why_not = "its items come out different each time, so they are made anew"
                    break
                self.items += one
                if len(took_s) >= _FEWEST and time.perf_counter() - began_s > _LONGEST_S:
                    break
            self.make_s = min(_by_one(took_s), self._by_many(dataset, count))
        finally:
            restore(before)

    def _by_many(self, dataset: Any, count: int) -> float:
        """Return the seconds of an item where many are made at once."""
        if self.why_not or not getattr(dataset, "__getitems__", None):
            return float("inf")
        numbers = spread(count, _MOST)
        at_s = time.perf_counter()
        make(dataset, numbers)
        return (time.perf_counter() - at_s) / len(numbers)


def spread(count: int, most: int) -> list[int]:
    """Return up to `most` numbers of items, from the first to the last."""
    most = min(count, most)
    return sorted({number * (count - 1) // max(1, most - 1) for number in range(most)})


def make(dataset: Any, numbers: Sequence[Any]) -> list[Any]:
    """Return items as a loader would have them made: at once where the data set offers that."""
    at_once = getattr(dataset, "__getitems__", None)
    return list(at_once(list(numbers))) if at_once else [dataset[number] for number in numbers]


def states() -> list[Any]:
    """Return where the random numbers are that an item could draw."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    found: list[Any] = [random.getstate()]
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        found.append((name, keys.tobytes(), *rest))
    if torch is not None:
        found.append(torch.get_rng_state().numpy().tobytes())
    return found


def restore(found: Sequence[Any]) -> None:
    """Put the random numbers back to where they were."""
    left = list(found)
    random.setstate(left.pop(0))
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and left:
        name, keys, *rest = left.pop(0)
        numpy.random.set_state((name, numpy.frombuffer(keys, numpy.uint32), *rest))
    if torch is not None and left:
        torch.set_rng_state(torch.frombuffer(bytearray(left.pop(0)), dtype=torch.uint8))


def same(one: Any, other: Any) -> bool:
    """Whether two items are the same, to the last bit of their numbers."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if hasattr(one, "shape") and hasattr(one, "dtype"):
        return bool(one.shape == other.shape and ((one == other) | (one != one)).all())  # noqa: PLR0124 - NaN is not itself
    return bool(one == other)


def _by_one(took_s: Sequence[float]) -> float:
    return median(took_s) if took_s else 0.0
