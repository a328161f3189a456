"""Small learning curves whose truth is known."""

from __future__ import annotations

import random
from math import exp

from joulewise.curves.curve import Curve


def saturating(steps: int = 60, pace: float = 4.0, noise: float = 0.0, seed: int = 0) -> Curve:
    """Return an accuracy that rises from about 0.2 to 0.9 and has come to rest after some ten paces."""
    draw = random.Random(seed)
    values = (0.9 - 0.7 * exp(-(i - 1) / pace) + draw.gauss(0, noise) for i in range(1, steps + 1))
    return Curve(tuple(float(i) for i in range(1, steps + 1)), tuple(values), higher_is_better=True)


def steady(steps: int = 60) -> Curve:
    """Return an accuracy that rises as much in its last step as in its first."""
    return Curve(
        tuple(float(i) for i in range(1, steps + 1)),
        tuple(0.1 + 0.8 * i / steps for i in range(1, steps + 1)),
        higher_is_better=True,
    )


def stepped(steps: int = 60, drop: int = 40) -> Curve:
    """Return a loss that rests at 0.5 until the drop of its learning rate and then falls to 0.3."""
    before = [0.5 + 1.8 * exp(-(i - 1) / 3) for i in range(1, drop + 1)]
    after = [0.3 + 0.2 * exp(-i / 3) for i in range(1, steps - drop + 1)]
    return Curve(tuple(float(i) for i in range(1, steps + 1)), (*before, *after), higher_is_better=False)
