"""How far the work has come, from what it logs: progress, trials, the last values; for budgets and the live view.

Points come from this process (`track`) and, under `joulewise run`, from the files that the program's own processes
write beside the recorder's: `Followed` reads what was added to them since it looked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from joulewise.ledger.files import decode
from joulewise.vocabulary.budget import improvement, progress

_MOST_MILESTONES = 128
_MOST_EPOCH_POINTS = 4096


@dataclass(frozen=True, slots=True)
class Milestone:
    """A moment at which the work said how far it is: share done (0 to 1), its joules and seconds until then."""

    share: float
    energy_j: float | None
    t_s: float


@final
class Progress:
    """What the points so far tell. Memory is bounded: milestones are thinned, old epochs are let go."""

    def __init__(self) -> None:
        self.points = 0
        self.last_point: Mapping[str, Any] = {}
        self.milestones: tuple[Milestone, ...] = ()
        self.improvement: float | None = None
        self._trials: set[str] = set()
        self._epochs: list[Mapping[str, Any]] = []
        self._told: float | None = None
        self._from_zero = False

    @property
    def trials(self) -> int:
        """How many different trials were logged."""
        return len(self._trials)

    def take(self, values: Mapping[str, Any]) -> None:
        """Take in one logged point."""
        self.points += 1
        self.last_point = {**self.last_point, **values}
        if "trial" in values:
            self._trials.add(str(values["trial"]))
        if "epoch" in values:
            self._epochs = [*self._epochs[-_MOST_EPOCH_POINTS:], values]
            self.improvement = improvement(self._epochs)
        if values.get("epoch", values.get("step")) == 0:
            self._from_zero = True
        share = progress(self.last_point, from_zero=self._from_zero)
        if share is not None and (self._told is None or share > self._told):
            self._told = share

    def mark(self, energy_j: float | None, t_s: float) -> None:
        """Set a milestone if the work has come further since the last one."""
        share = self._told
        if share is None or (self.milestones and share <= self.milestones[-1].share):
            return
        kept = self.milestones if len(self.milestones) < _MOST_MILESTONES else self.milestones[1::2]
        self.milestones = (*kept, Milestone(share, energy_j, t_s))


@final
class Followed:
    """The files that other processes of the work add to a recording; yields each of their points once."""

    def __init__(self, folder: Path | None, own_name: str) -> None:
        self._folder = folder
        self._own_name = own_name
        self._read: dict[str, int] = {}

    def new_points(self) -> Iterator[Mapping[str, Any]]:
        """Yield the points that were written since the last look; nothing if the folder cannot be read."""
        if self._folder is None:
            return
        try:
            names = os.listdir(self._folder)
        except OSError:
            return
        for name in names:
            if name != self._own_name and name.endswith(".jsonl"):
                yield from self._points(name)

    def _points(self, name: str) -> Iterator[Mapping[str, Any]]:
        begin = self._read.get(name, 0)
        try:
            with open(f"{self._folder}/{name}", "rb") as file:
                file.seek(begin)
                added = file.read()
        except OSError:
            return
        whole = added.rfind(b"\n") + 1  # the last line may still be on its way
        self._read[name] = begin + whole
        for line in added[:whole].splitlines():
            entry = decode(line)
            if entry is not None and entry.get("k") == "point":
                yield entry["values"]
