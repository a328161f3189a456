"""The best that is at hand of a zone, for the hours to come and for those that were; and what is said about it.

The ladder, each rung said in the result: the blend of published forecast and history (forecast.py), the published
forecast alone, the typical month by hour (profile.py), the yearly mean of the catalogue. A service that fails costs a
rung and a note, never an error.

    renew(sources, history, ...)    ask services and keep what they answer; returns what went wrong
    outlook(...)                    the hours to come, a pure function of what is known
    carbon_of(series, signal, ...)  grams of joules over time
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from joulewise.catalogue.hourly import mean_intensity
from joulewise.catalogue.zones import Zone, world_range
from joulewise.grid.forecast import forecast
from joulewise.grid.history import History
from joulewise.grid.profile import Profile, profile_of
from joulewise.grid.sources.port import Source
from joulewise.vocabulary.errors import GridError, UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.signal import HOUR_S, Factors, Kind, Meaning, Scope, Signal, SignalPoint, utc

_HOUR = timedelta(hours=1)
_STALE = timedelta(days=7)  # older history says more about the season than about tomorrow


@dataclass(frozen=True, slots=True)
class Outlook:
    """The hours to come: hourly values, by which method, and what had to be done without (`notes`).

    `kept` is the share of what such forecasts promised of late that came true (1 where nobody could count it).
    """

    signal: Signal
    method: str
    weights: Mapping[str, float] = field(default_factory=dict)
    history_h: int = 0
    notes: tuple[str, ...] = ()
    kept: float = 1.0


def outlook(
    zone: str,
    now: datetime,
    hours: int,
    *,
    past: Signal | None = None,
    published: Iterable[Signal] = (),
    shipped: Profile | None = None,
    yearly: Zone | None = None,
    notes: Sequence[str] = (),
) -> Outlook:
    """Return the next `hours` hours by the best that is known at `now`; every rung taken down is in `notes`. Pure."""
    now, said = utc(now), list(notes)
    known = past.known_at(now) if past else None
    known = known if known and known.points else None
    told = [s for s in published if s.known_at(now).points]
    recent = known if known and known.end_utc >= now - _STALE else None
    made = forecast(recent, now, hours, told) if recent or told else None
    if made is not None and any(v is not None for v in made.signal.values):
        if not told:
            said.append("no published forecast is at hand: history alone")
        return Outlook(made.signal, made.method, made.weights, made.history_h, tuple(said), made.kept)
    typical = (profile_of(known) if known else None) or shipped
    said.append(
        "no forecast can be made: neither a published one nor a day of history of the last week is at hand"
    )
    start = now.replace(minute=0, second=0, microsecond=0)
    if typical is not None:
        signal = typical.signal(start, start + hours * _HOUR, now)
        return Outlook(signal, "typical month by hour", {}, 0, tuple(said))
    said.append("no typical hours are known: the yearly mean tells no hour from another")
    mean = yearly.intensity(hours * HOUR_S, now.year) if yearly else world_range()
    meaning = Meaning(
        factors=Factors(yearly.factors) if yearly else Factors.LIFECYCLE, scope=Scope.PRODUCTION
    )
    point = SignalPoint(mean.value, now, True, mean.low, mean.high)
    signal = Signal(zone, meaning, start, HOUR_S, (point,) * hours, mean.source)
    return Outlook(signal, "yearly mean", {}, 0, tuple(said))


def recorded(history: History, zone: str, start: datetime, end: datetime) -> Signal | None:
    """Return the average intensity kept of the hours from `start` to `end`: actual values, else forecasts of them.

    None where nothing is kept of those hours. When actual values arrive they take the place of the forecasts.
    """
    past = history.past(zone)
    signal = past.between(start, end) if past is not None else None
    if signal is None or signal.gaps or signal.end_utc < end or signal.start_utc > start:
        for issue in history.issues(zone, past.meaning if past else None):
            told = issue.between(start, end)
            if told.points:
                signal = told if signal is None else signal.joined(told)
    if signal is None or signal.meaning.kind is not Kind.AVERAGE:
        return None
    return signal if signal.gaps < len(signal) else None


def renew(sources: Iterable[Source], history: History, zone: str, now: datetime, days: int = 28) -> list[str]:
    """Ask the sources that know the zone, best first, until one answers, and keep its answer; return what went wrong.

    What is kept already is not asked again, save for the last day, which services correct. Prices are asked of the first
    that has them.
    """
    notes: list[str] = []
    knowing = [source for source in sources if source.covers(zone)]
    for source in knowing:
        kept = history.kept_until(zone, source.name)
        start = now - timedelta(days=days)
        start = max(start, kept - timedelta(days=1)) if kept else start
        start = start.replace(minute=0, second=0, microsecond=0)
        past = _asked(notes, "history", partial(source.past, zone, start, now))
        ahead = _asked(notes, "forecast", partial(source.ahead, zone))
        got = [s for s in (past, ahead) if s is not None and s.gaps < len(s)]
        for signal in got:
            history.add(signal)
        if got:
            break
    for source in knowing:
        week, day_ahead = now - timedelta(days=7), now + timedelta(days=2)
        price = _asked(notes, "prices", partial(source.prices, zone, week, day_ahead))
        if price is not None:
            history.add(_issued_by(price, now))
            break
    if not knowing:
        notes.append(f"no service that may be asked knows {zone}")
    return notes


def prices(history: History, zone: str, now: datetime, hours: int) -> Signal | None:
    """Return the kept day-ahead prices of the hours from `now` on, as far as they were known at `now`; None without any."""
    now = utc(now)
    start = now.replace(minute=0, second=0, microsecond=0)
    issues = [s for s in history.issues(zone, kind=Kind.PRICE) if s.known_at(now).points]
    found: Signal | None = None
    for issue in issues:
        told = issue.known_at(now).between(start, start + hours * _HOUR)
        if told.points:
            found = told if found is None else found.joined(told)
    return found


def _issued_by(price: Signal, now: datetime) -> Signal:
    """Return day-ahead prices in which the hours that have not ended are known from `now` on: they are told in advance."""
    ended = (now - price.start_utc) // timedelta(seconds=price.step_s)
    points = (p if i < ended else replace(p, issued_utc=now) for i, p in enumerate(price.points))
    return replace(price, points=tuple(points))


def _asked(notes: list[str], what: str, ask: Callable[[], Signal | None]) -> Signal | None:
    try:
        return ask()
    except GridError as error:
        notes.append(f"{error} ({what})")
        return None


def carbon_of(series: Sequence[tuple[float, float]], signal: Signal, started: datetime) -> Figure:
    """Return the grams of joules over time: `series` holds seconds since `started` and the joules used until then.

    Computed when asked, so that a better signal makes a better figure of the same recording. Raises UsageError where
    the signal knows less than all of the hours, or is no average intensity: there is no silent remainder.
    """
    if not series or series[-1][1] <= series[0][1]:
        raise UsageError("there are no joules to turn into grams: the series does not grow")
    started = utc(started)
    found = mean_intensity(signal, started, series[-1][0], series)
    if found is None or found[1] < 0.999:
        share = 0.0 if found is None else found[1]
        raise UsageError(
            f"the {signal.meaning.kind} signal of {signal.zone} knows {share:.0%} of the joules used from {started:%Y-%m-%d %H:%M} UTC; "
            "use the yearly mean, or get the missing hours with --online"
        )
    joules = series[-1][1] - series[0][1]
    return found[0].scaled(joules / JOULES_PER_KWH)
