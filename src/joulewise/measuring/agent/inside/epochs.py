"""How many epochs there have been, told by the values of the loop's own variable at the steps where it was looked at."""

from __future__ import annotations

_MOST = 100_000
_INF = float("inf")


class Epochs:
    """The values of a loop's variable. Those between two looks count; so do those after the last, where epochs are alike."""

    __slots__ = ("_begin", "_high", "_low", "_steps_an_epoch", "_values", "now")

    def __init__(self) -> None:
        self.now: float | None = None
        self._values: set[float] = set()
        self._low, self._high = _INF, -_INF
        self._begin = 0  # steps before the first look
        self._steps_an_epoch = (0.0, _INF)  # more than the one, at most the other, by all looks

    def see(self, epoch: float | None, step: int) -> None:
        """Take in the variable's value before step number `step` (from 0); None where there is no such variable."""
        if epoch is None:
            self._steps_an_epoch = (_INF, _INF)  # these steps are of another loop
            return
        if not self._values:
            self._begin = step
        self.now = epoch
        if len(self._values) < _MOST:
            self._values.add(epoch)
        self._low, self._high = min(self._low, epoch), max(self._high, epoch)
        made, through = step - self._begin, epoch - self._low
        above, most = self._steps_an_epoch
        self._steps_an_epoch = (
            max(above, made / (through + 1)),
            min(most, made / through) if through else most,
        )

    def count(self, steps: int) -> int:
        """Return how many epochs so many steps have been of; 0 where none was seen."""
        passed = self._high - self._low + 1
        if not len(self._values) <= passed <= steps + 1 or passed % 1:
            return len(self._values)
        above, most = self._steps_an_epoch
        if most < _INF and int(most) - 1 <= above < int(most):  # one whole number lies between
            return max(int(passed), (steps - self._begin - 1) // int(most) + 1)
        return int(passed)
