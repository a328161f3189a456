"""A signal is how clean or how dear electricity is over time: one value a step, in UTC, for one zone.

What a value means is said beside it (`Meaning`): average or marginal, lifecycle or direct factors, of what is
consumed or produced, in grams or money per kWh. Signals of unlike meaning refuse to be compared or joined: a
German lifecycle mean of consumption lies a sixth above the direct one, and neither is a marginal intensity.

Every point knows when it became known: a forecast at its issue time, a measured value when its interval has
ended. `known_at(when)` leaves out all that was not known then, so that a replay can never see the future:

    past and forecast (all points) --known_at(noon)--> what a planner at noon may look at

A step without a value is a gap (`value is None`), never zero. There is no local time in here, so no doubled
and no missing hour either; whoever reads a file in local time resolves them first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Any

from joulewise.vocabulary.errors import UnlikeSignals, UsageError

G_PER_KWH = "gCO2e/kWh"
HOUR_S = 3600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """Which electricity a value is about."""

    AVERAGE = "average"  # the mix of all plants: for accounts, and for the allocated difference of a shift
    MARGINAL = "marginal"  # the plant that answers a change: for the estimated consequence of a shift
    PRICE = "price"  # not carbon at all


class Factors(StrEnum):
    """Which emissions of a plant are counted."""

    LIFECYCLE = "lifecycle"  # fuel, and building, mining and waste
    DIRECT = "direct"  # at the stack only: nuclear, wind and sun count zero
    NONE = "none"  # a price


class Scope(StrEnum):
    """Whose electricity is counted."""

    CONSUMPTION = "consumption"  # what is used in the zone, imports included
    PRODUCTION = "production"  # what is generated in it
    MARKET = "market"  # a price at an exchange, day-ahead
    TARIFF = "tariff"  # a price on the user's bill


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a signal's values mean; only signals of one meaning may be compared."""

    kind: Kind = Kind.AVERAGE
    factors: Factors = Factors.LIFECYCLE
    scope: Scope = Scope.CONSUMPTION
    unit: str = G_PER_KWH

    def __post_init__(self) -> None:
        """Refuse a price with emission factors, and grams without them."""
        priced = self.kind is Kind.PRICE
        if priced != (self.factors is Factors.NONE) or priced != (self.unit != G_PER_KWH):
            raise ValueError(f"{self.kind} in {self.unit} with factors {self.factors} has no meaning")

    @classmethod
    def price(cls, currency: str, scope: Scope = Scope.MARKET) -> Meaning:
        """Return the meaning of a price per kWh in a currency of three letters."""
        return cls(Kind.PRICE, Factors.NONE, scope, f"{currency}/kWh")

    def __str__(self) -> str:
        words = [self.kind, *([] if self.factors is Factors.NONE else [self.factors]), self.scope]
        return f"{', '.join(words)} ({self.unit})"


@dataclass(frozen=True, slots=True)
class SignalPoint:
    """The value of one step, in its signal's unit; None is a gap.

    `issued_utc` is when a forecast was issued, None for what was measured; `estimated` says that the provider made
    the value up from a model. `low` and `high` hold the forecast's central 90 %.
    """

    value: float | None
    issued_utc: datetime | None = None
    estimated: bool = False
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no number and an issue time without an offset."""
        if self.value is not None and not isfinite(self.value):
            raise ValueError(f"the value of a point is {self.value}; a gap is None")
        if self.issued_utc is not None and self.issued_utc.tzinfo is not UTC:
            object.__setattr__(self, "issued_utc", utc(self.issued_utc))

    @property
    def forecast(self) -> bool:
        """Whether this is a forecast and no measured value."""
        return self.issued_utc is not None


@dataclass(frozen=True, slots=True)
class Signal:
    """A series of values over time for one zone: point `i` covers `step_s` seconds from `start_utc + i * step_s`.

    A measured value counts as known `lag_s` seconds after its step has ended (services publish late).
    """

    zone: str
    meaning: Meaning
    start_utc: datetime
    step_s: int
    points: tuple[SignalPoint, ...]
    source: str = ""
    lag_s: int = 0

    def __post_init__(self) -> None:
        """Refuse a step of no length and a start without an offset."""
        if self.step_s <= 0:
            raise ValueError(f"step is {self.step_s} s, but must be at least 1")
        if self.start_utc.tzinfo is not UTC:
            object.__setattr__(self, "start_utc", utc(self.start_utc))

    @classmethod
    def of(
        cls,
        zone: str,
        values: Iterable[float | None],
        start_utc: datetime,
        *,
        step_s: int = HOUR_S,
        meaning: Meaning | None = None,
        issued_utc: datetime | None = None,
        source: str = "",
    ) -> Signal:
        """Return a signal of bare values that share one issue time (None: measured)."""
        issued_utc = None if issued_utc is None else utc(issued_utc)
        points = tuple(SignalPoint(v, issued_utc) for v in values)
        return cls(zone, meaning or Meaning(), start_utc, step_s, points, source)

    @property
    def end_utc(self) -> datetime:
        """The end of the last step."""
        return self.start_utc + timedelta(seconds=self.step_s * len(self.points))

    @property
    def values(self) -> tuple[float | None, ...]:
        """The bare values, gaps as None."""
        return tuple(p.value for p in self.points)

    @property
    def gaps(self) -> int:
        """How many steps have no value."""
        return sum(p.value is None for p in self.points)

    @property
    def estimated_share(self) -> float:
        """The share of the values that the provider itself estimated (0 to 1)."""
        known = [p.estimated for p in self.points if p.value is not None]
        return sum(known) / len(known) if known else 0.0

    def __len__(self) -> int:
        return len(self.points)

    def times(self) -> Iterator[datetime]:
        """Yield the start of every step."""
        step = timedelta(seconds=self.step_s)
        when = self.start_utc
        for _ in self.points:
            yield when
            when += step

    def at(self, when: datetime) -> SignalPoint | None:
        """Return the point of the step that holds `when`; None outside the signal and in a gap."""
        index = self._index(when)
        if not 0 <= index < len(self.points):
            return None
        point = self.points[index]
        return None if point.value is None else point

    def between(self, start: datetime, end: datetime) -> Signal:
        """Return the steps that touch the time from `start` to `end`, as far as this signal has them."""
        start, end = utc(start), utc(end)
        first = max(0, self._index(start))
        last = -((self.start_utc - end) // timedelta(seconds=self.step_s))  # rounded up
        last = min(len(self.points), max(first, last)) if end > start else first
        return self._cut(first, last)

    def mean(self, start: datetime, end: datetime) -> float | None:
        """Return the mean from `start` to `end`, each step weighed by the time it covers; None where one is unknown."""
        start, end = utc(start), utc(end)
        if end <= start:
            point = self.at(start)
            return None if point is None else point.value
        if start < self.start_utc or end > self.end_utc:
            return None
        part, step = self.between(start, end), timedelta(seconds=self.step_s)
        weighed = 0.0
        for begin, point in zip(part.times(), part.points, strict=True):
            if point.value is None:
                return None
            weighed += point.value * (min(end, begin + step) - max(start, begin)).total_seconds()
        return weighed / (end - start).total_seconds()

    def known_at(self, when: datetime) -> Signal:
        """Return what was known at `when`: forecasts issued by then, measured steps that had ended `lag_s` before.

        What was not known becomes a gap, and gaps at the end are cut off.
        """
        when = utc(when)
        ended = (when - self.start_utc - timedelta(seconds=self.lag_s)) // timedelta(seconds=self.step_s)
        known = [
            p if (i < ended if p.issued_utc is None else p.issued_utc <= when) else _GAP
            for i, p in enumerate(self.points)
        ]
        while known and known[-1].value is None:
            known.pop()
        return replace(self, points=tuple(known))

    def aligned(self, step_s: int) -> Signal:
        """Return this signal in steps of `step_s`: finer by repeating, coarser by the mean of whole steps.

        A coarser step is a gap where one of its parts is, is known when its last part is, and counts as estimated
        when one part does; parts of a step at either end are left out. A finer step is known when the whole was.
        """
        if step_s == self.step_s:
            return self
        if 0 < step_s < self.step_s and self.step_s % step_s == 0:
            times = self.step_s // step_s
            points = tuple(p for p in self.points for _ in range(times))
            return replace(self, step_s=step_s, points=points, lag_s=self.lag_s + self.step_s - step_s)
        if step_s <= 0 or step_s % self.step_s:
            raise UsageError(
                f"a signal in steps of {self.step_s} s cannot be put into steps of {step_s} s: one must hold the other whole"
            )
        count = step_s // self.step_s
        since_s = int((self.start_utc - _EPOCH).total_seconds())
        if since_s % self.step_s:
            raise UsageError(
                f"a signal that starts at {self.start_utc:%H:%M:%S} has no whole steps of {step_s} s"
            )
        skip = -since_s % step_s // self.step_s
        whole = (
            self.points[skip : skip + (len(self.points) - skip) // count * count]
            if skip < len(self.points)
            else ()
        )
        start_utc = self.start_utc + timedelta(seconds=skip * self.step_s)
        points = tuple(
            self._mean(whole[i : i + count], start_utc + timedelta(seconds=i * self.step_s))
            for i in range(0, len(whole), count)
        )
        return replace(self, step_s=step_s, start_utc=start_utc, points=points)

    def joined(self, other: Signal) -> Signal:
        """Return both as one: a measured value stands before a forecast, a newer forecast before an older one.

        Both must be of one zone and meaning; `other` is put into this signal's steps. Between them may be a gap.
        """
        require_like((self, other))
        if other.zone != self.zone:
            raise UnlikeSignals(
                f"cannot join a signal of {self.zone} with one of {other.zone}: they are two zones"
            )
        other = other.aligned(self.step_s)
        if not other.points:
            return self
        if not self.points:
            return other
        step = timedelta(seconds=self.step_s)
        shift, rest = divmod(other.start_utc - self.start_utc, step)
        if rest:
            raise UsageError(
                f"cannot join signals whose steps begin at {self.start_utc:%H:%M:%S} and {other.start_utc:%H:%M:%S}"
            )
        first = min(0, shift)
        points = [_GAP] * (max(len(self.points), shift + len(other.points)) - first)
        points[-first : -first + len(self.points)] = self.points
        for index, point in enumerate(other.points, shift - first):
            points[index] = _better(points[index], point)
        sources = dict.fromkeys(s for s in (*self.source.split("; "), *other.source.split("; ")) if s)
        return replace(
            self,
            start_utc=self.start_utc + first * step,
            points=tuple(points),
            source="; ".join(sources),
            lag_s=max(self.lag_s, other.lag_s),
        )

    def cheapest(self, count: int) -> tuple[int, ...]:
        """Return the indices of the `count` lowest steps in time order; of equal ones the earlier. Gaps are left out."""
        known = [(p.value, i) for i, p in enumerate(self.points) if p.value is not None]
        return tuple(sorted(i for _, i in sorted(known)[:count]))

    def as_json(self) -> dict[str, Any]:
        """Return plain values for a file; `from_json` reads them back."""
        issues = sorted({p.issued_utc for p in self.points if p.issued_utc})
        told: dict[str, Any] = {
            "zone": self.zone,
            "kind": self.meaning.kind.value,
            "factors": self.meaning.factors.value,
            "scope": self.meaning.scope.value,
            "unit": self.meaning.unit,
            "start_utc": self.start_utc.isoformat(),
            "step_s": self.step_s,
            "source": self.source,
            **({"lag_s": self.lag_s} if self.lag_s else {}),
            "values": list(self.values),
        }
        if issues:
            number = {issue: n for n, issue in enumerate(issues)}
            told["issues_utc"] = [issue.isoformat() for issue in issues]
            told["issued"] = [None if p.issued_utc is None else number[p.issued_utc] for p in self.points]
        if any(p.estimated for p in self.points):
            told["estimated"] = [i for i, p in enumerate(self.points) if p.estimated]
        for name in ("low", "high"):
            ends = [getattr(p, name) for p in self.points]
            if any(end is not None for end in ends):
                told[name] = ends
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Signal:
        """Return the signal that `as_json` described; raise UsageError for what is none."""
        try:
            values: Sequence[float | None] = told["values"]
            none: Sequence[Any] = [None] * len(values)
            issues = [datetime.fromisoformat(text) for text in told.get("issues_utc", ())]
            issued, low, high = (told.get(name, none) for name in ("issued", "low", "high"))
            estimated = frozenset(told.get("estimated", ()))
            points = tuple(
                SignalPoint(v, None if n is None else issues[n], i in estimated, lo, hi)
                for i, (v, n, lo, hi) in enumerate(zip(values, issued, low, high, strict=True))
            )
            meaning = Meaning(
                Kind(told["kind"]), Factors(told["factors"]), Scope(told["scope"]), str(told["unit"])
            )
            start_utc = datetime.fromisoformat(told["start_utc"])
            source, lag_s = str(told["source"]), int(told.get("lag_s", 0))
            return cls(str(told["zone"]), meaning, start_utc, int(told["step_s"]), points, source, lag_s)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UsageError(f"this is no signal: {type(error).__name__} {error}") from error

    def _mean(self, parts: Sequence[SignalPoint], start_utc: datetime) -> SignalPoint:
        """Return several points as one; where only some are measured, it is known when all of them are."""
        values = [p.value for p in parts if p.value is not None]
        if len(values) < len(parts):
            return _GAP
        step = timedelta(seconds=self.step_s)
        issues = [p.issued_utc for p in parts if p.issued_utc is not None]
        if issues:
            late = timedelta(seconds=self.lag_s)
            issues += [start_utc + n * step + late for n, p in enumerate(parts, 1) if p.issued_utc is None]
        low, high = ([getattr(p, n) for p in parts if getattr(p, n) is not None] for n in ("low", "high"))
        return SignalPoint(
            sum(values) / len(parts),
            max(issues) if issues else None,
            any(p.estimated for p in parts),
            sum(low) / len(parts) if len(low) == len(parts) else None,
            sum(high) / len(parts) if len(high) == len(parts) else None,
        )

    def _index(self, when: datetime) -> int:
        return (utc(when) - self.start_utc) // timedelta(seconds=self.step_s)

    def _cut(self, first: int, last: int) -> Signal:
        start_utc = self.start_utc + timedelta(seconds=self.step_s * first)
        return replace(self, start_utc=start_utc, points=self.points[first:last])


_GAP = SignalPoint(None)


def require_like(signals: Iterable[Signal]) -> None:
    """Raise UnlikeSignals unless all signals are of one meaning (zones may differ)."""
    first: Signal | None = None
    for signal in signals:
        first = first or signal
        if signal.meaning != first.meaning:
            raise UnlikeSignals(
                f"cannot compare {first.zone} ({first.meaning}) with {signal.zone} ({signal.meaning}): "
                f"they differ in {', '.join(_differences(first.meaning, signal.meaning))}; use sources of one meaning"
            )


def newest_known(issues: Iterable[Signal], when: datetime) -> Signal | None:
    """Return the newest of several forecasts that was wholly known at `when`; None where there was none."""
    when = utc(when)
    known = [(_issued(s), n, s) for n, s in enumerate(issues) if s.points]
    known = [row for row in known if row[0] is not None and row[0] <= when]
    return max(known, key=lambda row: (row[0], row[1]))[2] if known else None


def utc(when: datetime) -> datetime:
    """Return an aware time in UTC; refuse one without an offset."""
    if when.tzinfo is None:
        raise UsageError(
            f"the time {when.isoformat()} has no offset; write for instance {when.isoformat()}+00:00"
        )
    return when.astimezone(UTC)


def _issued(signal: Signal) -> datetime | None:
    issues = [p.issued_utc for p in signal.points if p.issued_utc is not None]
    return max(issues) if issues else None


def _better(one: SignalPoint, other: SignalPoint) -> SignalPoint:
    """Return the point that knows more; of two measured ones the later given (a correction)."""
    if other.value is None or one.value is None:
        return one if other.value is None else other
    if one.issued_utc is None and other.issued_utc is not None:
        return one
    if one.issued_utc is not None and other.issued_utc is not None and other.issued_utc < one.issued_utc:
        return one
    return other


def _differences(one: Meaning, other: Meaning) -> Iterator[str]:
    for name in ("kind", "factors", "scope", "unit"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            yield f"{name} ({mine} and {theirs})"
