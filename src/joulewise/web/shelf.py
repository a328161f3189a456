"""What the pages read: the ledger's index, kept up to date, and the accounts of recordings.

Every reader opens the ledger for itself (pages are made in threads). The index is brought up to date at most once in
`_FRESH_S`; accounts of recordings that have ended are kept, because nothing can change them but a settings file.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import final

from joulewise import wiring
from joulewise.diagnosing.experiment import RunLine, ended_runs
from joulewise.ledger import jobs, leases
from joulewise.ledger.index import ORDERS, count_runs, find_run, list_runs, role_runs
from joulewise.ledger.jobs import Attempt, Decision, Line
from joulewise.ledger.months import Filter
from joulewise.ledger.pots import drawn, list_pots
from joulewise.ledger.savings import plans, settlements
from joulewise.ledger.store import Store
from joulewise.ledger.summary import Summary
from joulewise.ledger.wastes import Split, examples, split
from joulewise.measuring.accounting import Account
from joulewise.measuring.totalling import Total, rolled
from joulewise.scheduling.saved import placement_from_json
from joulewise.vocabulary.errors import RecordingError, UnknownName, UsageError
from joulewise.vocabulary.finding import Finding, Settlement
from joulewise.vocabulary.job import Placement
from joulewise.vocabulary.moments import month_before
from joulewise.vocabulary.observed import observe
from joulewise.vocabulary.recording import EndState
from joulewise.vocabulary.settled import Settled
from joulewise.vocabulary.target import Landing, MonthlyBudget, Target
from joulewise.vocabulary.ticket import OPEN, Stage, Ticket
from joulewise.vocabulary.waste import Waste
from joulewise.web.queue_page import Queue
from joulewise.web.served import Served, gather
from joulewise.web.totals_page import MONTHS, Asked, Shown

PAGE = 50
_FRESH_S, _KEPT_S, _MOST_KEPT = 2.0, 10.0, 16
_MOST_CURRENT, _LINGER = 200, timedelta(minutes=10)
_MOST_JOBS, _MOST_ENDED, _MOST_TRIED = 500, 20, 100
_MOST_PERIODS = 2000
_LOOK_S, _MOST_LINES, _MOST_RUNS = 0.2, 50_000, 2000
_SINCE = {"": None, "day": 1, "week": 7, "month": 31, "year": 366}


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs to list: words to look for, a state, how far back (day, week, month, year), the order and the page."""

    text: str = ""
    state: str = ""
    since: str = ""
    order: str = "newest"
    page: int = 1

    def __post_init__(self) -> None:
        """Refuse a state, a span, an order or a page that does not exist."""
        for what, value, known in (
            ("state", self.state, ("", *(s.value for s in EndState))),
            ("since", self.since, tuple(_SINCE)),
            ("order", self.order, tuple(ORDERS)),
        ):
            if value not in known:
                raise UnknownName(what, value, [k for k in known if k])
        if not 1 <= self.page <= 1_000_000:
            raise UsageError(f"page is {self.page}, but pages count from 1")


@final
class Shelf:
    """The ledger and its recordings, as the pages read them; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh_until = 0.0
        self._kept: OrderedDict[tuple[str, int], Account] = OrderedDict()
        self._names: tuple[float, list[tuple[str, int, float]]] = (0.0, [])
        self._years: dict[tuple[str, Filter], tuple[float, list[Total]]] = {}
        self._landed: tuple[float, tuple[Target, ...], list[Landing]] = (0.0, (), [])
        self._lines: dict[str, list[RunLine]] = {}  # of runs that have ended; empty where joules are unknown

    @contextmanager
    def ledger(self) -> Iterator[Store]:
        """Open the ledger, its index brought up to date unless that was just done."""
        store = wiring.store()
        try:
            with self._lock:
                if time.monotonic() >= self._fresh_until:
                    wiring.refresh(store)
                    self._fresh_until = time.monotonic() + _FRESH_S
            yield store
        finally:
            store.close()

    def runs(self, query: Query) -> tuple[list[Summary], int]:
        """Return one page of the runs that fit, and how many fit in all."""
        days = _SINCE[query.since]
        since = None if days is None else datetime.now(UTC) - timedelta(days=days)
        state = EndState(query.state) if query.state else None
        with self.ledger() as store:
            count = count_runs(store, text=query.text, state=state, since=since)
            if not count:
                return [], 0
            rows = list_runs(
                store, text=query.text, state=state, since=since, order=query.order,
                limit=PAGE, offset=PAGE * (query.page - 1),
            )  # fmt: skip
        return rows, count

    def current(self) -> tuple[list[Summary], dict[str, int]]:
        """Return the runs that go on or ended in the last ten minutes, and how many recordings there are by state."""
        now = datetime.now(UTC)
        with self.ledger() as store:
            running = list_runs(store, state=EndState.RUNNING, limit=_MOST_CURRENT)
            late = [
                r
                for r in list_runs(store, since=now - timedelta(days=1), limit=_MOST_CURRENT)
                if r.state is not EndState.RUNNING
                and r.started_utc + timedelta(seconds=r.duration_s) > now - _LINGER
            ]
            rows = store.query("SELECT state, COUNT(*) AS count FROM recordings GROUP BY state")
        return running + late, {r["state"]: r["count"] for r in rows}

    def account(self, text: str) -> Account:
        """Return the account of the run that an id, `latest` or a name means; raises UsageError where none does."""
        with self.ledger() as store:
            summary = find_run(store, text)
            key = (summary.run_id, _changed_ns(summary))
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            try:
                recording = wiring.open_recording(store, summary)
            except (OSError, RecordingError):
                if store.shared:  # it says that the recording was not pushed
                    raise
                raise UsageError(
                    f"{summary.run_id} is in the ledger, but its recording is not on this machine ({summary.folder})"
                ) from None
        account = wiring.account(recording)
        if account.recording.end.state is not EndState.RUNNING:
            with self._lock:
                self._kept[key] = account
                while len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
        return account

    def findings(self, account: Account) -> tuple[Finding, ...]:
        """Return what drove a run's cost; nothing while it runs."""
        if account.recording.end.state is EndState.RUNNING:
            return ()
        return wiring.findings(account)

    def experiment(self, name: str) -> tuple[list[RunLine], int]:
        """Return the ended runs of exactly that name, and how many are still to be looked into.

        A look takes about `_LOOK_S`; the page asks again until nothing is left.
        """
        with self.ledger() as store:
            runs = list_runs(store, name=name, limit=_MOST_RUNS, order="newest")
            ended = [r for r in runs if r.name == name and r.state is not EndState.RUNNING]
            if not ended:
                raise UsageError(f"no ended run is named {name!r}")
            until = time.monotonic() + _LOOK_S
            waiting = [r for r in ended if r.run_id not in self._lines]
            while waiting and time.monotonic() < until:
                run = waiting.pop(0)
                self._lines[run.run_id] = _look_into(store, run)
        if len(self._lines) > _MOST_LINES:
            self._lines.clear()
        lines = [line for run in ended for line in self._lines.get(run.run_id, ())]
        return sorted(lines, key=lambda r: r.run_id), len(waiting)

    def queue(self) -> Queue:
        """Return the jobs that are open and the last that ended, with their plans and tries, and the zone's forecast."""
        with self.ledger() as store:
            ended = [s for s in Stage if s not in OPEN]
            lines = [*jobs.lines(store), *jobs.lines(store, ended, limit=_MOST_ENDED)[::-1]]
            ids = [line.id for line in lines[:_MOST_JOBS]]
            plans_of = {key: placement_from_json(told) for key, told in jobs.placements(store, ids).items()}
            tried = {key: jobs.attempts(store, key) for key in ids[:_MOST_TRIED]}
            known = leases.workers(store)
        zones = [line.zone for line in lines if line.zone]
        try:
            told = wiring.outlook(max(set(zones), key=zones.count), 48).signal if zones else None
        except UsageError:  # a zone of which nothing is known: the jobs are shown all the same
            told = None
        return Queue(lines[:_MOST_JOBS], plans_of, tried, known, told, datetime.now(UTC))

    def job(self, text: str) -> tuple[Line, Ticket, Placement | None, list[Decision], list[Attempt]]:
        """Return one job: line, ticket, plan in force, story and tries; raises UsageError where there is none."""
        with self.ledger() as store:
            line = jobs.find(store, text)
            told = jobs.placement(store, line.id)
            placed = None if told is None else placement_from_json(told)
            return (
                line,
                jobs.ticket(store, line.id),
                placed,
                jobs.story(store, line.id),
                jobs.attempts(store, line.id),
            )

    def settled(self) -> tuple[list[Settlement], list[tuple[str, Settled]]]:
        """Return what was settled: findings, and placements of plans with the plan's name; newest first."""
        with self.ledger() as store:
            return settlements(store), plans(store)

    def totals(self, asked: Asked) -> Shown:
        """Return a month's totals, the year to it, and budgets and targets of whom it is about."""
        project, person = asked.project or None, asked.person or None
        month = Filter(asked.month, asked.month, project, person)
        year = Filter(month_before(asked.month, MONTHS - 1), asked.month, project, person)
        wanted, budgets = wiring.targets()
        with self.ledger() as store:
            rows = rolled(wiring.totals(store, asked.by, month), lambda t: t.key)
            months = self._months(store, asked.by, year)
            left = [
                (b, wiring.budget_used(store, b, asked.month))
                for b in budgets
                if _shown(b) and _about(b, project, person)
            ]
            landed = self._landings(
                store, tuple(t for t in wanted if _shown(t) and _about(t, project, person))
            )
            from_pots = drawn(store, asked.by, month)
            named = {one.pot for one in from_pots}
            pots = [line for line in list_pots(store) if line.name in named] if named else []
        token = wiring.reader.get()
        part = token is not None and not token.everything
        return Shown(rows, months, left, landed, pots, from_pots, part)

    def _months(self, store: Store, by: str, year: Filter) -> list[Total]:
        """Return a year's totals by month; adding them up takes a while on a large ledger, so the last are kept for `_KEPT_S`."""
        with self._lock:
            until, kept = self._years.get((by, year), (0.0, []))
            if time.monotonic() < until:
                return kept
        found = wiring.joules(store, by, year)
        with self._lock:
            self._years[by, year] = (time.monotonic() + _KEPT_S, found)
            while len(self._years) > _MOST_KEPT:
                del self._years[next(iter(self._years))]
        return found

    def _landings(self, store: Store, wanted: tuple[Target, ...]) -> list[Landing]:
        """Return where targets land; whole months do not change from one look to the next, so it is kept for `_KEPT_S`."""
        with self._lock:
            until, of, kept = self._landed
            if time.monotonic() < until and of == wanted:
                return kept
        found = wiring.landings(store, wanted, datetime.now(UTC))
        with self._lock:
            self._landed = (time.monotonic() + _KEPT_S, wanted, found)
        return found

    def where_it_went(self, asked: Asked) -> tuple[Split, dict[Waste, Sequence[tuple[str, float]]], bool]:
        """Return how a month divides into the wastes, the runs that each took most of, and whether some are left to look into.

        A look takes about `_LOOK_S`; the page asks again until nothing is left.
        """
        chosen = Filter(asked.month, asked.month, asked.project or None)
        with self.ledger() as store:
            more = wiring.look_into(store, chosen, _LOOK_S)
            seen = split(store, chosen)
            most = {w: examples(store, chosen, w, 2) for w, part in seen.wastes.items() if part.share > 0}
        return seen, most, more

    def served(self) -> list[Served]:
        """Return the models that were served, from the last serving periods."""
        with self.ledger() as store:
            return gather(role_runs(store, "serve", _MOST_PERIODS))

    def experiments(self) -> list[tuple[str, int, float]]:
        """Return names that several runs share, with how many runs and joules they have, the latest first.

        Adding up every recording takes a while on a large ledger: the answer is kept for `_KEPT_S`.
        """
        with self._lock:
            until, kept = self._names
            if time.monotonic() < until:
                return kept
        with self.ledger() as store:
            rows = store.query(
                "SELECT name, COUNT(*) AS runs, SUM(energy_j) AS energy_j, MAX(started_utc) AS latest FROM recordings "
                "WHERE name <> '' GROUP BY name HAVING COUNT(*) > 1 ORDER BY latest DESC LIMIT 200"
            )
        found = [(r["name"], r["runs"], r["energy_j"] or 0.0) for r in rows]
        with self._lock:
            self._names = (time.monotonic() + _KEPT_S, found)
        return found


def _changed_ns(run: Summary) -> int:
    """Return when a recording's files last changed; 0 where they are not on this machine."""
    try:
        return max((f.stat().st_mtime_ns for f in Path(run.folder).iterdir()), default=0) if run.folder else 0
    except OSError:
        return 0


def _shown(one: Target | MonthlyBudget) -> bool:
    """Whether whoever asks may see a target or budget: it is about a project or a person that the token shows."""
    token = wiring.reader.get()
    return token is None or token.everything or one.project in token.projects or one.person in token.people


def _about(one: Target | MonthlyBudget, project: str | None, person: str | None) -> bool:
    """Whether a target or budget belongs to a page about a project or a person; a page about all shows all."""
    return (project is None or one.project == project) and (person is None or one.person == person)


def _look_into(store: Store, run: Summary) -> list[RunLine]:
    try:
        account = wiring.account(wiring.open_recording(store, run))
    except (OSError, RecordingError, UsageError):  # another host's, or gone meanwhile
        return []
    return ended_runs([(account, observe(account.recording))])
