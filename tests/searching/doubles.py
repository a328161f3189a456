"""A meter and objectives with a known truth for the tests of searching."""

from __future__ import annotations

from typing import final

from joulewise.searching.space import Float, Int, Space
from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.figures import exact

SPACE = Space({"x": Float(0.0, 1.0), "width": Int(1, 8, log=True)})


@final
class Meter:
    """Joules that objectives add to; ten joules are a second."""

    def __init__(self) -> None:
        self.used_j = 0.0

    def __call__(self) -> Spent:
        return Spent(time_s=self.used_j / 10, energy_j=exact(self.used_j), carbon_g=exact(self.used_j / 100))


def valley(meter: Meter):
    """Return an objective to minimise: best at x = 0.3, an epoch costs the width."""

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += trial["width"]
            yield (trial["x"] - 0.3) ** 2 + 0.5 / epoch

    return objective
