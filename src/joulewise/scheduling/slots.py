"""Slots: the time that a plan may use, cut where a price changes.

Signals are steps, so everything a plan minimises is linear within a slot; that is why the ladder can be exact. Times
are seconds since the plan's origin. Each slot knows its grams and its money per joule drawn by the job (PUE included);
the price that a plan minimises is a weighted sum of these and of the joule itself.

Where a forecast ends before the deadline, its last day is repeated; a gap takes the mean of the same time on the
other days. Both are said in `notes`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.signal import Kind, Signal

_DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch of time with constant grams and money per joule (money 0 where there is no tariff)."""

    begin_s: float
    end_s: float
    g_per_j: float
    money_per_j: float = 0.0

    @property
    def length_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Weights:
    """What a joule counts: by its grams, by its money, and by itself."""

    gram: float = 1.0
    money: float = 0.0
    joule: float = 0.0

    def per_j(self, slot: Slot) -> float:
        """Return the price of one joule in this slot."""
        return self.gram * slot.g_per_j + self.money * slot.money_per_j + self.joule


class Prices:
    """The price per joule over the slots of a window, with its integral (price times seconds)."""

    def __init__(self, slots: Sequence[Slot], weights: Weights) -> None:
        self.slots = tuple(slots)
        self.per_j = tuple(weights.per_j(s) for s in self.slots)
        self._begins = [s.begin_s for s in self.slots]
        summed = [0.0]
        for slot, price in zip(self.slots, self.per_j, strict=True):
            summed.append(summed[-1] + price * slot.length_s)
        self._summed = summed

    @property
    def begin_s(self) -> float:
        """Where the window begins."""
        return self._begins[0]

    @property
    def end_s(self) -> float:
        """Where the window ends."""
        return self.slots[-1].end_s

    def at(self, t_s: float) -> float:
        """Return the price per joule at a time (the later slot's at a border)."""
        return self.per_j[self._index(t_s)]

    def between(self, begin_s: float, end_s: float) -> float:
        """Return price times seconds between two times: what one watt costs there."""
        return self._until(end_s) - self._until(begin_s)

    def _index(self, t_s: float) -> int:
        return min(max(bisect_right(self._begins, t_s) - 1, 0), len(self.slots) - 1)

    def _until(self, t_s: float) -> float:
        index = self._index(t_s)
        return self._summed[index] + self.per_j[index] * (t_s - self.slots[index].begin_s)


@dataclass(frozen=True, slots=True)
class Window:
    """The slots from an origin to an end, and what had to be made up to fill them."""

    slots: tuple[Slot, ...]
    notes: tuple[str, ...] = ()


def window(
    carbon: Signal, origin_utc: datetime, end_utc: datetime, price: Signal | None = None, pue: float = 1.0
) -> Window:
    """Return the slots from `origin_utc` to `end_utc`, with grams and (where known) money per joule drawn."""
    notes: list[str] = []
    grams = _Steps(carbon, origin_utc, end_utc, notes)
    money = None if price is None else _Steps(price, origin_utc, end_utc, notes)
    end_s = (end_utc - origin_utc).total_seconds()
    cuts = {0.0, end_s, *grams.borders(end_s)}
    if money is not None:
        cuts |= set(money.borders(end_s))
    slots = tuple(
        Slot(
            begin,
            end,
            grams.at(begin) * pue / JOULES_PER_KWH,
            0.0 if money is None else money.at(begin) * pue / JOULES_PER_KWH,
        )
        for begin, end in pairwise(sorted(cuts))
    )
    return Window(slots, tuple(dict.fromkeys(notes)))


class _Steps:
    """The values of a signal by seconds since an origin, with its end drawn out and its gaps filled."""

    def __init__(self, signal: Signal, origin_utc: datetime, end_utc: datetime, notes: list[str]) -> None:
        self._step_s = float(signal.step_s)
        known = [v for v in signal.values if v is not None]
        if not known:
            raise UsageError(f"the signal of {signal.zone or 'the zone'} has no value; name another source")
        offset = (origin_utc - signal.start_utc) // timedelta(seconds=signal.step_s)
        self._shift_s = (
            signal.start_utc + timedelta(seconds=offset * signal.step_s) - origin_utc
        ).total_seconds()
        if offset < 0:
            raise UsageError(
                f"the signal of {signal.zone or 'the zone'} begins at {signal.start_utc:%Y-%m-%d %H:%M} UTC, after "
                f"the plan ({origin_utc:%Y-%m-%d %H:%M} UTC); give one that holds the time of the plan"
            )
        count = -int(-((end_utc - origin_utc).total_seconds() - self._shift_s) // self._step_s)
        day = max(1, round(_DAY_S / self._step_s))
        values, filled, repeated = list(signal.values), 0, 0
        for index in range(len(values), offset + count):
            values.append(values[index - day] if index >= day else None)
            repeated += 1
        chosen: list[float] = []
        for index in range(offset, offset + count):
            value = values[index]
            if value is None:
                like = [v for v in signal.values[index % day :: day] if v is not None] or known
                value = sum(like) / len(like)
                filled += 1
            chosen.append(value)
        self._values = chosen
        if repeated:
            what = "price signal" if signal.meaning.kind is Kind.PRICE else "forecast"
            notes.append(
                f"the {what} ends {signal.end_utc:%Y-%m-%d %H:%M} UTC; beyond it its last day is repeated"
            )
        if filled > repeated:
            notes.append(
                f"{filled - min(filled, repeated)} gaps in the signal took the mean of the same hour"
            )

    def at(self, t_s: float) -> float:
        return self._values[min(int((t_s - self._shift_s + 1e-6) // self._step_s), len(self._values) - 1)]

    def borders(self, end_s: float) -> list[float]:
        every = (self._shift_s + n * self._step_s for n in range(1, len(self._values)))
        return [b for b in every if 0 < b < end_s]
