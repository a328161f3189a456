"""The learning curve that the agents in a folder tell of, as it goes on: for whoever steers a program by it.

A program may tell it half a second late (`inside/facts.py`), and what it tells while it stands still is nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

from joulewise.measuring.agent.pages import read_facts


class CurvePoint(NamedTuple):
    """Numbers that a process named after so many steps, and the number of the epoch that it was in, where it had one."""

    process: str
    step: int
    epoch: float | None
    values: Mapping[str, float]

    @property
    def passing(self) -> bool:
        """Whether it is the training loss of a moment, as PyTorch's hook sees it at many steps of an epoch."""
        return tuple(self.values) == ("loss",)


@final
class Curve:
    """The points of all processes with an agent, each given once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}

    def new_points(self) -> Iterator[CurvePoint]:
        """Yield what was told since the last look, of each process in its order."""
        try:
            names = sorted(n for n in os.listdir(self._folder) if n.endswith(".facts"))
        except OSError:
            return
        for name in names:
            _, added, self._read[name] = read_facts(os.path.join(self._folder, name), self._read.get(name, 0))
            for _at_s, step, epoch, values in added.get("curve", ()):
                yield CurvePoint(name, int(step), epoch, values)
