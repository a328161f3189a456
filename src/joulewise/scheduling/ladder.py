"""The ladder's arithmetic: the cheapest start, the cheapest stretches, the cheapest paces; each with its bound.

Times are seconds since the plan's origin; a *cost* is in the plan's objective. All functions are pure and use the
standard library only: one job over a week of hours takes milliseconds.

- `best_start`: exact. The cost of a run is piecewise linear in its start, so an optimum begins or ends at a border.
- `best_stretches`: exact where a pause is free (fill the cheapest slots). Where it costs, Lagrange: a price on work
  makes each slot a choice of running or not, solved exactly over all slots; the price is found by halving, and the
  stretches are then trimmed or drawn out to the work wanted. The dual value is a bound that no plan can beat.
- `best_paces`: in each slot the paces on the convex hull of (speed, watts) come in growing marginal cost of work, so
  taking the cheapest work first is optimal where changes are free (CarbonScaler, Hanafy et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import inf

from joulewise.scheduling.slots import Prices
from joulewise.vocabulary.job import Checkpoint, Pace

FREE = Checkpoint()
_EPS_S = 1e-6
_HALVINGS = 48


class State(Enum):
    """Where a job stands when it is planned: not begun, running, or paused (its next stretch begins with a resumption)."""

    FRESH = "fresh"
    RUNNING = "running"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of running at one pace, in seconds since the origin."""

    begin_s: float
    end_s: float
    pace: Pace

    @property
    def length_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rung came to: its pieces, what they cost, and the least that any choice of this kind could cost."""

    pieces: tuple[Piece, ...]
    cost: float
    bound: float


def best_start(
    prices: Prices, work_s: float, pace: Pace, latest_s: float, *, on_steps: bool = False
) -> Choice | None:
    """Return the cheapest run in one go that ends by `latest_s`; None where none fits. Of equal ones the earliest.

    `on_steps` begins at a border of a slot (or at once) only.
    """
    length = work_s / pace.speed
    first, last = prices.begin_s, latest_s - length
    if last < first - _EPS_S:
        return None
    last = max(first, last)
    borders = [s.begin_s for s in prices.slots]
    starts = {first, *borders} if on_steps else {first, last, *borders, *(b - length for b in borders)}
    cost, start = min(
        (round(prices.between(s, s + length), 12), s) for s in starts if first <= s <= last + _EPS_S
    )
    cost = prices.between(start, start + length) * pace.power_w
    return Choice((Piece(start, start + length, pace),), cost, cost)


def best_stretches(
    prices: Prices,
    work_s: float,
    pace: Pace,
    latest_s: float,
    pause: Checkpoint = FREE,
    state: State = State.FRESH,
) -> Choice | None:
    """Return the cheapest stretches that hold the work and end by `latest_s`; None where they cannot hold it."""
    length = work_s / pace.speed
    slots = [
        (s.begin_s, min(s.end_s, latest_s), p)
        for s, p in zip(prices.slots, prices.per_j, strict=True)
        if s.begin_s < latest_s - _EPS_S
    ]
    resume = pause.dead_s if state is State.PAUSED else 0.0
    if sum(end - begin for begin, end, _ in slots) < length + resume - _EPS_S:
        return None
    if pause == FREE:
        spans = _fill(slots, length)
        cost = sum(prices.between(a, b) for a, b in spans) * pace.power_w
        return Choice(tuple(Piece(a, b, pace) for a, b in spans), cost, cost)
    task = _Task(prices, slots, length, pace, pause, state)
    chosen = task.solve()
    if not pause.idle_w or chosen is None:
        return chosen
    # what would be best if standing still were free has shorter stretches than any price of work finds
    free = best_stretches(prices, work_s, pace, latest_s, replace(pause, idle_w=0.0), state)
    if free is None:
        return chosen
    bound = max(chosen.bound, free.bound)
    cost = task.cost([(p.begin_s, p.end_s) for p in free.pieces])
    if cost < chosen.cost:
        return Choice(free.pieces, cost, min(bound, cost))
    return Choice(chosen.pieces, chosen.cost, min(bound, chosen.cost))


def best_paces(
    prices: Prices, work_s: float, paces: Sequence[Pace], latest_s: float, pause: Checkpoint = FREE
) -> Choice | None:
    """Return the cheapest mixture of paces that does the work by `latest_s`; its cost holds the price of the pauses.

    The bound is the optimum with free pauses. None where even the fastest pace does not fit.
    """
    steps = _hull(paces)
    offers = []
    for number, (slot, price) in enumerate(zip(prices.slots, prices.per_j, strict=True)):
        end = min(slot.end_s, latest_s)
        if end - slot.begin_s <= _EPS_S:
            continue
        speed = power = 0.0
        for pace in steps:
            work = (pace.speed - speed) * (end - slot.begin_s)
            offers.append(
                (price * (pace.power_w - power) / (pace.speed - speed), number, pace.speed, work, pace)
            )
            speed, power = pace.speed, pace.power_w
    offers.sort(key=lambda o: o[:3])
    left, chosen, bound = work_s, dict[int, tuple[Pace | None, Pace, float]](), 0.0
    for unit_cost, number, _speed, work, pace in offers:
        if left <= _EPS_S:
            break
        taken = min(left, work)
        before = chosen[number][1] if number in chosen else None
        chosen[number] = (before, pace, taken / work)
        bound += unit_cost * taken
        left -= taken
    if left > _EPS_S:
        return None
    pieces = _join(_pieces(prices, chosen, latest_s))
    cost = sum(prices.between(p.begin_s, p.end_s) * p.pace.power_w for p in pieces)
    dead_pieces, extra = _with_pauses(prices, pieces, pause, latest_s)
    if dead_pieces is None:
        return None
    return Choice(dead_pieces, cost + extra, bound)


def pauses_of(pieces: Sequence[Piece]) -> list[int]:
    """Return the indices of pieces that begin after a pause."""
    return [i for i in range(1, len(pieces)) if pieces[i].begin_s > pieces[i - 1].end_s + _EPS_S]


def _fill(slots: list[tuple[float, float, float]], length: float) -> list[tuple[float, float]]:
    """Return the cheapest stretches of this length; the last part lies beside what is already used."""
    order = sorted(range(len(slots)), key=lambda i: (slots[i][2], slots[i][0]))
    left, used = length, dict[int, tuple[float, float]]()
    for i in order:
        if left <= _EPS_S:
            break
        begin, end, _ = slots[i]
        if end - begin <= left + _EPS_S:
            used[i] = (begin, end)
        elif i - 1 not in used and i + 1 in used:
            used[i] = (end - left, end)
        else:
            used[i] = (begin, begin + left)
        left -= end - begin
    return _merge([used[i] for i in sorted(used)])


def _merge(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in spans:
        if end - begin <= _EPS_S:
            continue
        if merged and begin - merged[-1][1] <= _EPS_S:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


class _Task:
    """One search for stretches where a pause costs: the dual over a price of work, then repair."""

    def __init__(
        self,
        prices: Prices,
        slots: list[tuple[float, float, float]],
        length: float,
        pace: Pace,
        pause: Checkpoint,
        state: State,
    ) -> None:
        self.prices, self.slots, self.length = prices, slots, length
        self.pace, self.pause, self.state = pace, pause, state

    def solve(self) -> Choice | None:
        """Return the best stretches found, with the dual bound."""
        power = self.pace.power_w
        highest = max(p for _, _, p in self.slots) * power
        low, high = 0.0, 2 * highest + 1e-9
        bound = -inf
        shortest = min(end - begin for begin, end, _ in self.slots)
        for _ in range(40):  # a price of work at which every slot is worth its resumption
            if self._work(self._dual(high)[1]) >= self.length - _EPS_S:
                break
            high *= 2 + self.pause.dead_s / max(shortest, 1.0)
        tried: list[list[tuple[float, float]]] = []
        for _ in range(_HALVINGS):
            worth = (low + high) / 2
            value, spans = self._dual(worth)
            bound = max(bound, value + worth * self.length)
            if self._work(spans) >= self.length - _EPS_S:
                high = worth
                tried.append(spans)
            else:
                low = worth
                tried.append(spans)
        tried = tried[-24:]
        tried.append(self._dual(high)[1])
        run = best_start(self.prices, self.length, Pace("", 1.0, 1.0), self.slots[-1][1])
        found = [self._fitted(spans) for spans in tried if spans]
        if run is not None and self.state is State.FRESH:
            found.append([(run.pieces[0].begin_s, run.pieces[0].end_s)])
        begin = self.slots[0][0]
        resume = self.pause.dead_s if self.state is State.PAUSED else 0.0
        found.append([(begin, begin + self.length + resume)])  # run on at once
        kept = [(self.cost(spans), spans) for spans in found if spans is not None]
        kept = [k for k in kept if k[1] and k[1][-1][1] <= self.slots[-1][1] + _EPS_S]
        if not kept:
            return None
        cost, spans = min(kept)
        pieces = tuple(Piece(a, b, self.pace) for a, b in spans)
        return Choice(pieces, cost, min(max(bound, 0.0), cost))

    def _dual(self, worth: float) -> tuple[float, list[tuple[float, float]]]:
        """Return the least of (cost - worth x work) over all choices of whole slots, and its stretches."""
        power, dead, joules = self.pace.power_w, self.pause.dead_s, self.pause.energy_j
        fresh = 0.0 if self.state is State.FRESH else inf
        on = 0.0 if self.state is State.RUNNING else inf
        off = inf if self.state is State.FRESH else 0.0
        done = inf
        # where `on`, `off` and `done` came from: 0 fresh, 1 on, 2 off, 3 done
        back: list[tuple[int, int, int]] = []
        for begin, end, price in self.slots:
            gain = (power * price - worth) * (end - begin)
            start, stay, again = fresh, on, off + worth * dead + joules * price
            best = min(start, stay, again)
            came = 1 if stay == best else 0 if start == best else 2
            rest = min(on, off) + self.pause.idle_w * price * (end - begin)
            back.append((came, 1 if on < off else 2, 1 if on < done else 3))
            on, off, done = best + gain, rest, min(on, done)
        best = min(fresh, on, done)
        at = 0 if fresh == best else 1 if on == best else 3
        spans: list[tuple[float, float]] = []
        for (begin, end, _), (came, rested, ended) in zip(reversed(self.slots), reversed(back), strict=True):
            if at == 1:
                spans.append((begin, end))
                at = came
            elif at:
                at = rested if at == 2 else ended
        return best, _merge(spans[::-1])

    def _resumptions(self, spans: Sequence[tuple[float, float]]) -> list[float]:
        """Return the times at which a resumption is paid for."""
        begins = [a for a, _ in spans]
        at_once = bool(begins) and begins[0] <= self.slots[0][0] + _EPS_S
        free = self.state is State.FRESH or (self.state is State.RUNNING and at_once)
        return begins[1:] if free else begins

    def _work(self, spans: Sequence[tuple[float, float]]) -> float:
        return sum(b - a for a, b in spans) - self.pause.dead_s * len(self._resumptions(spans))

    def cost(self, spans: Sequence[tuple[float, float]]) -> float:
        """Return what stretches cost, with their pauses."""
        run = sum(self.prices.between(a, b) for a, b in spans) * self.pace.power_w
        first = spans[0][0] if self.state is State.FRESH else self.slots[0][0]
        rests = zip([first, *(b for _, b in spans)], (a for a, _ in spans), strict=False)
        idle = sum(self.prices.between(end, begin) for end, begin in rests) * self.pause.idle_w
        return run + idle + sum(self.pause.energy_j * self.prices.at(t) for t in self._resumptions(spans))

    def _fitted(self, spans: list[tuple[float, float]]) -> list[tuple[float, float]] | None:
        """Return the stretches trimmed or drawn out at their cheapest ends until they hold the work exactly."""
        for _ in range(4 * len(self.slots) + 8):
            excess = self._work(spans) - self.length
            if abs(excess) <= 1e-3:
                return spans
            changed = self._trimmed(spans, excess) if excess > 0 else self._drawn(spans, -excess)
            if changed is None:
                return None
            spans = changed
        return None

    def _trimmed(self, spans: list[tuple[float, float]], excess: float) -> list[tuple[float, float]]:
        dropped = [
            (self.cost(spans) - self.cost(rest), rest)
            for i in range(len(spans))
            if len(spans) > 1 and self._work(rest := spans[:i] + spans[i + 1 :]) >= self.length - _EPS_S
        ]
        if dropped:
            return max(dropped)[1]
        ends = []
        for i, (a, b) in enumerate(spans):
            for at_begin in (True, False):
                if at_begin and self.state is State.RUNNING and a <= self.slots[0][0] + _EPS_S:
                    continue  # would pause a running job to go on a moment later
                border = self._border(a, b, at_begin=at_begin)
                price = self.prices.at(a if at_begin else b - _EPS_S)
                ends.append((price, i, at_begin, min(excess, border)))
        _, i, at_begin, cut = max(ends)
        a, b = spans[i]
        trimmed = (a + cut, b) if at_begin else (a, b - cut)
        return _merge([*spans[:i], trimmed, *spans[i + 1 :]])

    def _drawn(self, spans: list[tuple[float, float]], missing: float) -> list[tuple[float, float]] | None:
        first, last = self.slots[0][0], self.slots[-1][1]
        ends = []
        for i, (a, b) in enumerate(spans):
            before = spans[i - 1][1] if i else first
            after = spans[i + 1][0] if i + 1 < len(spans) else last
            if a - before > _EPS_S:
                room = min(missing, a - before, self._slot_length(a - _EPS_S, a, at_begin=False))
                ends.append((self.prices.at(a - _EPS_S), i, True, room))
            if after - b > _EPS_S:
                room = min(missing, after - b, self._slot_length(b, b, at_begin=True))
                ends.append((self.prices.at(b), i, False, room))
        if not ends:
            return None
        _, i, at_begin, more = min(ends)
        a, b = spans[i]
        drawn = (a - more, b) if at_begin else (a, b + more)
        return _merge([*spans[:i], drawn, *spans[i + 1 :]])

    def _border(self, a: float, b: float, *, at_begin: bool) -> float:
        """Return how much of the stretch lies in its first or last slot."""
        for begin, end, _ in self.slots if at_begin else reversed(self.slots):
            if at_begin and begin <= a < end - _EPS_S:
                return min(end, b) - a
            if not at_begin and begin + _EPS_S < b <= end + _EPS_S:
                return b - max(begin, a)
        return b - a

    def _slot_length(self, inside: float, edge: float, *, at_begin: bool) -> float:
        """Return how far the slot that holds `inside` reaches away from `edge`."""
        for begin, end, _ in self.slots:
            if begin <= inside < end:
                return end - edge if at_begin else edge - begin
        return inf


def _hull(paces: Sequence[Pace]) -> list[Pace]:
    """Return the paces whose watts per speed grow from one to the next: the lower convex hull from standing still."""
    kept: list[Pace] = []
    for pace in sorted(paces, key=lambda p: (p.speed, p.power_w)):
        while kept:
            below = kept[-2] if len(kept) > 1 else None
            speed, power = (below.speed, below.power_w) if below else (0.0, 0.0)
            slope_in = (kept[-1].power_w - power) / (kept[-1].speed - speed)
            if pace.speed <= kept[-1].speed:
                break
            if (pace.power_w - kept[-1].power_w) / (pace.speed - kept[-1].speed) >= slope_in:
                break
            kept.pop()
        if not kept or pace.speed > kept[-1].speed:
            kept.append(pace)
    return kept


def _pieces(
    prices: Prices, chosen: dict[int, tuple[Pace | None, Pace, float]], latest_s: float
) -> list[Piece]:
    pieces: list[Piece] = []
    for number in sorted(chosen):
        before, pace, share = chosen[number]
        slot = prices.slots[number]
        begin, end = slot.begin_s, min(slot.end_s, latest_s)
        middle = begin + share * (end - begin)
        if share >= 1 - 1e-9:
            pieces.append(Piece(begin, end, pace))
        elif before is not None:
            pieces += [Piece(begin, middle, pace), Piece(middle, end, before)]
        elif number + 1 in chosen and number - 1 not in chosen:
            pieces.append(Piece(end - (middle - begin), end, pace))
        else:
            pieces.append(Piece(begin, middle, pace))
    return [p for p in pieces if p.length_s > _EPS_S]


def _join(pieces: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].pace == piece.pace and piece.begin_s - joined[-1].end_s <= _EPS_S:
            joined[-1] = Piece(joined[-1].begin_s, piece.end_s, piece.pace)
        else:
            joined.append(piece)
    return joined


def _with_pauses(
    prices: Prices, pieces: list[Piece], pause: Checkpoint, latest_s: float
) -> tuple[tuple[Piece, ...] | None, float]:
    """Return the pieces, each resumption begun earlier by its dead time, and what that adds; None where no room is."""
    resumed = pauses_of(pieces)
    extra = 0.0
    result = list(pieces)
    late = 0.0  # dead time that found no room before its stretch and is appended at the end
    for i in resumed:
        begin = pieces[i].begin_s - pause.dead_s
        if begin < result[i - 1].end_s:
            late += pause.dead_s
            begin = pieces[i].begin_s
        else:
            result[i] = Piece(begin, pieces[i].end_s, pieces[i].pace)
        extra += prices.between(begin, pieces[i].begin_s) * pieces[i].pace.power_w
        extra += pause.energy_j * prices.at(begin) + pause.idle_w * prices.between(result[i - 1].end_s, begin)
    if late:
        last = result[-1]
        if last.end_s + late > latest_s + _EPS_S:
            return None, 0.0
        extra += prices.between(last.end_s, last.end_s + late) * last.pace.power_w
        result[-1] = Piece(last.begin_s, last.end_s + late, last.pace)
    return tuple(result), extra
