"""Team totals and where they went: the ledger's months at their places, findings kept once, targets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from joulewise.settings import user_file
from joulewise.vocabulary.errors import JoulewiseError, UnknownName, UsageError
from joulewise.vocabulary.moments import months_between
from joulewise.wiring.chosen import settings
from joulewise.wiring.ledger import account, open_recording, summarise, whole

if TYPE_CHECKING:
    from joulewise.catalogue.place import Place
    from joulewise.ledger.months import Filter
    from joulewise.ledger.store import Store
    from joulewise.ledger.summary import Summary
    from joulewise.measuring.accounting import Account
    from joulewise.measuring.totalling import Total
    from joulewise.settings import Settings
    from joulewise.vocabulary.figures import Figure
    from joulewise.vocabulary.signal import Signal
    from joulewise.vocabulary.target import Landing, MonthlyBudget, Target
    from joulewise.vocabulary.waste import Part, Waste

_BATCH = 50  # recordings that are looked into before what was found is kept
_MOST_MONTHS = 12  # whole months that a target's line is drawn through


def totals(ledger: Store, by: str, chosen: Filter) -> list[Total]:
    """Return what was used by month and by person, project, device, zone or host, priced at the places of the recordings."""
    from joulewise.ledger.months import stretches, sums
    from joulewise.measuring.totalling import totals as priced

    used = settings()
    found = sums(ledger, by, chosen)
    hours = _hours(used)
    zones = sorted({s.zone for s in found if hours(s.zone) is not None or _by_time(used)})
    return priced(found, stretches(ledger, by, chosen, zones), _places(used), hours)


def joules(ledger: Store, by: str, chosen: Filter) -> list[Total]:
    """Return the same without grams and money, which cost more to compute than to add up."""
    from joulewise.ledger.months import sums
    from joulewise.measuring.totalling import unpriced

    return unpriced(sums(ledger, by, chosen))


def read_old(ledger: Store) -> None:
    """Read the recordings whose months an upgraded ledger does not know yet."""
    from joulewise.ledger.refreshing import read_old as read_old_in

    read_old_in(ledger, Path(settings().runs), summarise)


def look_into(ledger: Store, chosen: Filter, patience_s: float | None = None) -> bool:
    """Find what recordings of these months wasted and keep it, the most joules first; return whether some are left.

    It stops after `patience_s` (None: when all were looked into). Who sees only a part of the ledger has that part looked into.
    """
    from joulewise.ledger.index import known_runs
    from joulewise.ledger.wastes import waiting, write

    until_s = None if patience_s is None else time.monotonic() + patience_s
    with whole(ledger) as written:
        while batch := waiting(ledger, chosen, _BATCH):
            found: dict[str, Mapping[Waste | None, Part] | None] = {}
            for run in known_runs(ledger, batch):
                found[run.run_id] = _wasted(ledger, run)
                if until_s is not None and time.monotonic() > until_s:
                    break
            write(written, found)
            if until_s is not None and time.monotonic() > until_s:
                return bool(waiting(ledger, chosen, 1))
    return False


def _wasted(ledger: Store, run: Summary) -> Mapping[Waste | None, Part] | None:
    """Return what a recording wasted; None where nothing can be said: not seen from inside, or not readable."""
    from joulewise.diagnosing import diagnose
    from joulewise.vocabulary.observed import observe
    from joulewise.vocabulary.waste import divide

    try:
        told = account(open_recording(ledger, run))
    except (JoulewiseError, OSError):
        return None
    views, idle = observe(told.recording), _standing_by(told)
    found = diagnose(told.recording, views, told)
    if not views and not found and idle is None:
        return None
    return divide(found, idle)


def _standing_by(told: Account) -> Part | None:
    """Return which share of a serving period's joules was in no answer, by its own count; None for other work.

    At least the share of its CPU time while no request was inside, where that is less.
    """
    from joulewise.vocabulary.waste import Part

    recording, total = told.recording, told.footprint.total_j
    values = recording.points[-1].values if recording.role == "serve" and recording.points else {}
    answers_j = values.get("answers_j")
    if not isinstance(answers_j, int | float) or total is None or total.value <= 0:
        return None
    share, least = (min(1.0, max(0.0, 1 - answers_j / j)) for j in (total.value, total.low or total.value))
    busy, idle = (float(values.get(name, 0.0)) for name in ("requests_cpu_s", "standing_by_cpu_s"))
    low = min(share, least, idle / (busy + idle)) if busy + idle > 0 else min(share, least)
    return Part(share, low, max(share, min(1.0, 1 - answers_j / total.high)))


def targets() -> tuple[list[Target], list[MonthlyBudget]]:
    """Return the targets and monthly budgets of the file that the settings name; none without one."""
    from joulewise.vocabulary.target import parse

    named = settings().targets
    user = user_file()
    path = Path(named).expanduser() if named else user.with_name("targets.toml") if user else None
    if path is None or not (named or path.is_file()):
        return [], []
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the targets in {path}: {getattr(error, 'strerror', None) or error}"
        ) from None


def landings(ledger: Store, wanted: Sequence[Target], now: datetime) -> list[Landing]:
    """Return where each target lands, by the whole months before `now`."""
    from joulewise.vocabulary.target import land

    this = f"{now:%Y-%m}"
    found = []
    for target in wanted:
        used = _used(ledger, target)
        whole = [(month, value) for month, value in used if month < this][-_MOST_MONTHS:]
        baseline = dict(used).get(target.baseline) if isinstance(target.baseline, str) else target.baseline
        found.append(land(target, whole, baseline))
    return found


def budget_used(ledger: Store, budget: MonthlyBudget, month: str) -> Figure | None:
    """Return what of a monthly budget was used in a month; None where nothing is known."""
    from joulewise.ledger.months import Filter
    from joulewise.measuring.totalling import together

    chosen = Filter(month, month, budget.project, budget.person, budget.device, budget.zone)
    parts = totals(ledger, "month", chosen)
    if not parts:
        return None
    whole = together(parts, "")
    if budget.unit == "J":
        return whole.energy_j
    grams = [g.figure for meaning, g in whole.grams.items() if meaning.startswith("average")]
    return grams[0] if len(grams) == 1 else None


def _used(ledger: Store, target: Target) -> list[tuple[str, float]]:
    """Return what each month used in the target's terms, oldest first; months between without a recording used nothing."""
    from joulewise.ledger.months import Filter, work

    chosen = Filter(project=target.project, person=target.person)
    if target.per:
        done = work(ledger, chosen, target.per)
        return [(month, joules / units) for month, (joules, units) in sorted(done.items())]
    used: dict[str, float] = {}
    for total in totals(ledger, "month", chosen):
        value = total.energy_j.value if target.what == "joules" and total.energy_j is not None else None
        if target.what == "grams":
            value = next((g.figure.value for m, g in total.grams.items() if m.startswith("average")), None)
        if value is not None:
            used[total.month] = value
    return [(month, used.get(month, 0.0)) for month in months_between(min(used), max(used))] if used else []


def _places(chosen: Settings) -> Callable[[str, str], Place]:
    """Return what gives the place of a recorded zone and site ("cloud chassis"): the settings' PUE and tariff."""
    from joulewise.catalogue.place import place

    @cache
    def place_of(zone: str, site: str) -> Place:
        cloud, _, chassis = site.partition(" ")
        where = zone or ("" if chosen.zone == "auto" else chosen.zone)
        find = partial(
            place,
            kind=None if cloud in ("", "-") else cloud,
            chassis="unknown" if chassis in ("", "-") else chassis,
            tariff=chosen.tariff or None,
            pue_value=chosen.pue or None,
            wall_calibration=chosen.wall_factor or None,
        )
        try:
            return find(where or None)
        except UnknownName as error:  # a zone that services know and the catalogue does not
            return replace(find(None), zone_unknown=str(error))

    return place_of


def _hours(chosen: Settings) -> Callable[[str], Signal | None]:
    """Return what gives the hours that were kept of a zone; None without."""
    from joulewise.grid.history import History

    @cache
    def hours_of(zone: str) -> Signal | None:
        where = zone or ("" if chosen.zone == "auto" else chosen.zone)
        if not where or not chosen.grid or not os.path.isdir(os.path.join(chosen.grid, where)):
            return None
        return History(Path(chosen.grid)).past(where)

    return hours_of


def _by_time(chosen: Settings) -> bool:
    """Whether the tariff's price depends on the hour."""
    from joulewise.catalogue.tariffs import Tariff

    return bool(chosen.tariff and Tariff.parse(chosen.tariff).bands)


__all__ = ["budget_used", "landings", "look_into", "read_old", "targets", "totals"]
