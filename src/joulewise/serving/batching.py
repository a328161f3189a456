"""How many waiting requests the next batch takes, and who is turned away: pure functions of a fitted line.

The cost of a batch of n rows is near enough a straight line, J(n) = a n + b: `a` for every row, `b` for the call
itself. `LineFit` learns one for seconds and one for CPU time (which is joules but for a factor that cancels here).

There is no timer. Whoever waits for more requests pays twice when few come: in latency and in wake-ups. What arrives
while a batch runs forms the next; an idle server answers at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite
from typing import NamedTuple, final

_FORGET = 0.98  # weight of the past per batch: the fit follows a machine that gets busier
_LEAST_BATCHES = 8
_LEAST_SPREAD = (
    0.1  # sizes must differ by this share of their mean before a line through them means something
)
_SMALL_SHARE = 0.02  # a call whose fixed cost is below this share gains nothing worth waiting for by growing
_LEAST_ROWS = 8  # never bound a batch below this by energy, or the sizes never differ and nothing is learned
_TRY_ROWS = 2  # while the line is a guess: only sizes that differ can show what a row costs
_SHORT_SHARE = 0.1
_LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Line:
    """The cost of a batch of n rows, a n + b, with a and b at least 0; `fitted` is False for a guess from one size."""

    a: float
    b: float
    fitted: bool = True

    def at(self, rows: float) -> float:
        """Return the cost of a batch of so many rows."""
        return self.a * rows + self.b

    def rows_within(self, cost: float) -> float:
        """Return how many rows cost at most `cost`: inf where rows are free, 0 where not even the call fits."""
        if self.at(0) > cost:
            return 0.0
        return (cost - self.b) / self.a if self.a > 0 else inf


@final
class LineFit:
    """Least squares for J(n) = a n + b with a, b >= 0, forgetting the past at a steady rate."""

    def __init__(self) -> None:
        self._seen = 0
        self._w = self._n = self._y = self._nn = self._ny = 0.0

    def add(self, rows: int, cost: float) -> None:
        """Learn what a batch of so many rows cost."""
        self._seen += 1
        self._w = self._w * _FORGET + 1
        self._n = self._n * _FORGET + rows
        self._y = self._y * _FORGET + cost
        self._nn = self._nn * _FORGET + rows * rows
        self._ny = self._ny * _FORGET + rows * cost

    def line(self) -> Line | None:
        """Return the line; None before the first batch; proportional (it overestimates larger batches) until it is known."""
        if not self._seen:
            return None
        mean_n, mean_y = self._n / self._w, self._y / self._w
        variance = self._nn / self._w - mean_n**2
        if self._seen < _LEAST_BATCHES or variance < (_LEAST_SPREAD * mean_n) ** 2:
            return Line(mean_y / mean_n, 0.0, fitted=False)
        a = (self._ny / self._w - mean_n * mean_y) / variance
        b = mean_y - a * mean_n
        if a < 0:
            return Line(0.0, mean_y)
        if b < 0:
            return Line(self._ny / self._nn, 0.0)
        return Line(a, b)


class Waiting(NamedTuple):
    """One request in the queue. Only requests of one signature (shapes without the batch dimension) share a batch."""

    rows: int
    signature: Hashable


def most_rows(limit: int, target_s: float, seconds: Line | None, energy: Line | None) -> int:
    """Return the largest batch worth running while the server keeps up, at least 1.

    A request waits for at most the batch that runs plus its own, so each may take half of the latency target. A guess
    from one size still lets two rows try: a model is not kept at single rows because its first call was slow.
    """
    most: float = thrifty_rows(limit, energy)
    if seconds is not None:
        most = min(most, max(seconds.rows_within(target_s / 2), 1 if seconds.fitted else _TRY_ROWS))
    return max(1, int(most))


def thrifty_rows(limit: int, energy: Line | None) -> int:
    """Return the size at which the fixed cost is 2 % of the batch's energy: a larger one saves nothing and answers later."""
    if energy is None or not energy.fitted or energy.a <= 0:
        return limit
    rows = max(_LEAST_ROWS, energy.b / energy.a * (1 - _SMALL_SHARE) / _SMALL_SHARE)
    return max(1, int(min(limit, rows)))


def rows_now(waiting: int, most: int, thrifty: int, target_s: float, seconds: Line | None) -> int:
    """Return the largest batch worth running now, with so many rows waiting.

    Where batches of `most` would not answer all of them within the target, small batches keep nobody's target: the
    thriftiest size answers the last of them soonest.
    """
    return thrifty if thrifty > most and expected_s(waiting, most, seconds) > target_s else most


def worth_a_thread(rows: int, target_s: float, cpu_seconds: Line | None) -> bool:
    """Return whether a batch takes more CPU time than a tenth of the latency target, or nobody knows.

    A shorter one is computed where the requests are read: the hand-over to a thread and back can cost more CPU time than
    the model, and what arrives meanwhile waits for it that long at most. By CPU time, because a machine that is busy with
    other work would otherwise send every batch to the thread, just when that costs most.
    """
    return cpu_seconds is None or cpu_seconds.at(rows) > target_s * _SHORT_SHARE


def next_batch(waiting: Sequence[Waiting], most: int) -> tuple[int, ...]:
    """Return which of the waiting form the next batch, by their place in the queue.

    The first always goes, then all of its signature in order while they fit in `most` rows; nobody of the same
    signature is overtaken.
    """
    if not waiting:
        return ()
    chosen, rows, signature = [0], waiting[0].rows, waiting[0].signature
    for place in range(1, len(waiting)):
        one = waiting[place]
        if one.signature != signature:
            continue
        if rows + one.rows > most:
            break
        chosen.append(place)
        rows += one.rows
    return tuple(chosen)


class Load(NamedTuple):
    """What is inside the server at this moment."""

    waiting: int = 0  # requests in the queue
    rows: int = 0  # their rows, and those of the batch that runs
    held_bytes: int = 0  # bodies that are being read or wait


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be inside at once."""

    most_waiting: int = 1024
    most_held_bytes: int = 256_000_000


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why a request is not let in, and after how many whole seconds it is worth trying again."""

    reason: str
    retry_after_s: int


def expected_s(rows: int, most: int, seconds: Line | None) -> float:
    """Return how long so many rows take in batches of at most `most`: 0 where nothing is known yet."""
    if seconds is None or rows <= 0:
        return 0.0
    return seconds.a * rows + seconds.b * ceil(rows / max(1, most))


def admit(
    load: Load, bounds: Bounds, rows: int, deadline_s: float, most: int, seconds: Line | None
) -> TurnedAway | None:
    """Return None if a request may come in, or why not: what cannot be answered in time is refused at once."""
    takes_s = expected_s(load.rows + rows, most, seconds)
    if load.waiting >= bounds.most_waiting:
        return TurnedAway(f"{load.waiting} requests are waiting already", _retry(takes_s))
    if load.held_bytes > bounds.most_held_bytes:
        return TurnedAway(f"{load.held_bytes} bytes of requests are being held already", _retry(takes_s))
    if load.rows and takes_s > deadline_s:
        return TurnedAway(
            f"{load.rows} rows are ahead: the answer would take {takes_s:.3g} s, the deadline is {deadline_s:.3g} s",
            _retry(takes_s - deadline_s),
        )
    return None


def _retry(seconds: float) -> int:
    return min(_LONGEST_RETRY_S, max(1, ceil(seconds))) if isfinite(seconds) else _LONGEST_RETRY_S
