"""A store of features looked over as a whole: the wastes that a run's findings name one by one, with what they cost a day.

    view_nobody_reads   stop making it
    values_too_fresh    make it as often as its readers need
    derived_twice       compute the columns in one view, and read them from there
    request_time_join   materialise what a served model joins while its caller waits

`features.hygiene` sees them in the store's states and tallies; each waste's own file says it in words and how much is spared,
here as for a run. A store works by the day, so savings are CPU seconds a day (`per` says otherwise where they are not), priced
by what the view's own recorded runs cost for each CPU second; None where none was recorded. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from joulewise.diagnosing import derived_twice, request_time_join, values_too_fresh, view_nobody_reads
from joulewise.diagnosing.case import Said
from joulewise.features import hygiene
from joulewise.features.hygiene import Query
from joulewise.features.online import ReadTally, ViewState
from joulewise.vocabulary.finding import Cause, Remedy
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.quantities import format_bytes

_SQL = 120  # characters of a statement that name it


@dataclass(frozen=True, slots=True)
class Rate:
    """What the recorded runs of one view cost for each CPU second: joules, grams and money; None is unknown."""

    energy_j: float | None
    carbon_g: float | None
    cost: float | None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """One waste of a store; `cpu_s` and what it is worth are `per` day, run, or all the requests seen.

    `runs` are the recorded runs of the view, whose own findings (`joulewise diagnose RUN`) name the same waste.
    """

    cause: Cause
    subject: str
    evidence: str
    remedy: Remedy
    risk: str
    cpu_s: float | None
    per: str
    rate: Rate | None = None
    runs: tuple[str, ...] = ()


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

    def found(
        cause: Cause, view: str, subject: str, said: Said, cpu_s: float | None, per: str
    ) -> StoreFinding:
        state = states.get(view)
        runs = tuple(run.run_id for run in state.runs if run.run_id) if state else ()
        return StoreFinding(
            cause, subject, said.evidence, said.remedy, said.risk, cpu_s, per, rates.get(view), runs
        )

    wastes = []
    for idle in hygiene.unused(states, tallies, now, days=days):
        said = view_nobody_reads.words(idle.view, idle.last_read_utc)
        size = (
            f"{said.evidence}; {idle.rows:,} rows, {format_bytes(idle.bytes)}; owner {idle.owner or 'nobody'}"
        )
        said = Said(size, said.remedy, said.risk)
        wastes.append(found(Cause.VIEW_NOBODY_READS, idle.view, idle.view, said, idle.cpu_s_per_day, "day"))
    for fresh in hygiene.too_fresh(states, tallies):
        view, made_s, needed_s = fresh.view, fresh.made_every_s, fresh.needed_every_s
        _, spared, most = values_too_fresh.spared(made_s, needed_s, full=states[view].runs[-1].full)
        said = values_too_fresh.words(view, made_s, needed_s, fresh.why)
        saved_s = fresh.cpu_s_saved_per_day * spared / most
        wastes.append(found(Cause.VALUES_TOO_FRESH, view, view, said, saved_s, "day"))
    for twice in hygiene.derived_twice(states):
        first, *others = twice.columns
        said = derived_twice.words(" and ".join(others), first)
        view = others[0].partition(".")[0]
        wastes.append(
            found(Cause.DERIVED_TWICE, view, " and ".join(twice.columns), said, twice.cpu_s_per_run, "run")
        )
    for join in hygiene.request_joins(queries):
        _, saved_s, _ = request_time_join.spared(join.cpu_s, join.calls)
        said, subject = request_time_join.words(join), " ".join(join.sql.split())[:_SQL]
        wastes.append(found(Cause.REQUEST_TIME_JOIN, "", subject, said, saved_s, "all requests seen"))
    return tuple(sorted(wastes, key=lambda f: -(f.cpu_s or 0.0)))
