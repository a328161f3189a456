"""What a store of features does for nobody, as findings: `features.hygiene` sees it, this says what to do and what it saves.

    unused         nobody reads a view: stop making it
    too fresh      a view is made more often than its readers need: make it as often as they do
    derived twice  views compute the same columns of the same rows: compute them in one, make the others from it
    request join   a served model joins or aggregates while its caller waits: materialise it and read a row

A store works by the day, not by the run, so savings are CPU seconds a day (`per` says otherwise where they are not), priced
by what the view's own recorded runs cost for each CPU second; None where none was recorded. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from joulewise.features.hygiene import Query, Unused, derived_twice, request_joins, too_fresh, unused
from joulewise.features.online import ReadTally, ViewState
from joulewise.vocabulary.finding import Remedy, RemedyKind
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.quantities import format_bytes, format_duration

_READ_S = 50e-6  # a row of a store on the same host, read by its key
_SQL = 120  # characters of a statement that are shown


@dataclass(frozen=True, slots=True)
class Rate:
    """What the recorded runs of one view cost for each CPU second: joules, grams and money; None is unknown."""

    energy_j: float | None
    carbon_g: float | None
    cost: float | None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """One thing that is derived for nobody; `cpu_s` and what it is worth are `per` day, run, or all the requests seen."""

    what: str
    subject: str
    evidence: str
    remedy: Remedy
    risk: str
    cpu_s: float | None
    per: str
    rate: Rate | None = None


def rate(footprint: Footprint, cpu_s: float) -> Rate | None:
    """Return what a CPU second of these runs cost; None where they used none."""
    if cpu_s <= 0:
        return None
    parts = (footprint.total_j, footprint.carbon_g, footprint.cost)
    energy_j, carbon_g, cost = (None if f is None else f.value / cpu_s for f in parts)
    return Rate(energy_j, carbon_g, cost, footprint.currency)


def look_over_store(
    states: Mapping[str, ViewState],
    tallies: Iterable[ReadTally],
    now: datetime,
    *,
    queries: Iterable[Query] = (),
    rates: Mapping[str, Rate] | None = None,
    days: float = 30.0,
) -> tuple[StoreFinding, ...]:
    """Return what a store derives for nobody, and what is derived too late, the dearest first."""
    tallies, rates = list(tallies), rates or {}
    found = [_unused(u, rates.get(u.view)) for u in unused(states, tallies, now, days=days)]
    found += [
        StoreFinding(
            "too fresh",
            t.view,
            f"made anew every {format_duration(t.made_every_s)}; its readers need it every {format_duration(t.needed_every_s)}"
            + (" (they tolerate older values)" if t.why == "tolerated" else " (it is read no more often)"),
            Remedy(RemedyKind.SETTING, f"refresh={t.needed_every_s:.0f} for {t.view}"),
            "values are older when they are read, within what every reader tolerates",
            t.cpu_s_saved_per_day,
            "day",
            rates.get(t.view),
        )
        for t in too_fresh(states, tallies)
    ]
    found += [
        StoreFinding(
            "derived twice",
            " and ".join(d.columns),
            "the same expression over the same rows",
            Remedy(RemedyKind.DIFF, "compute it in one view, and make the others from that view"),
            "none: the values are the same",
            d.cpu_s_per_run,
            "run",
            rates.get(d.columns[0].split(".")[0]),
        )
        for d in derived_twice(states)
    ]
    found += [
        StoreFinding(
            "request join",
            " ".join(join.sql.split())[:_SQL],
            f"{join.what} while a request waits, {join.calls} times, {1e3 * join.cpu_s / max(1, join.calls):.2f} ms of CPU each",
            Remedy(
                RemedyKind.DIFF,
                "make it a view and read its row: joulewise materialise VIEWS.py, then Reader.row(key)",
            ),
            "values are as old as the view's last run",
            max(0.0, join.cpu_s - join.calls * _READ_S),
            "all requests seen",
        )
        for join in request_joins(queries)
    ]
    return tuple(sorted(found, key=lambda f: -(f.cpu_s or 0.0)))


def _unused(u: Unused, priced: Rate | None) -> StoreFinding:
    last = f"not read since {u.last_read_utc[:10]}" if u.last_read_utc else "never read"
    return StoreFinding(
        "unused",
        u.view,
        f"{last}; {u.rows:,} rows, {format_bytes(u.bytes)}; owner {u.owner or 'nobody'}",
        Remedy(RemedyKind.DIFF, f"stop making {u.view}: take it out of what is materialised"),
        "nobody has read it; ask its owner",
        u.cpu_s_per_day,
        "day",
        priced,
    )
