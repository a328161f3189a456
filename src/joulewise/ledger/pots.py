"""A pot: one budget that several processes spend from, on one host or on several.

Every run writes what it has spent so far, cumulatively, into a row of its own; the pot's total is the sum of the rows.
So saying a thing twice changes nothing, no process waits for another, and after `kill -9` of any of them at most its
last tick is missing. A pot has one set of limits; whoever joins with others is refused. Deciding is not the pot's
business: it keeps limits and sums.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, final

from joulewise.ledger.files import boot_id, is_alive, process_start
from joulewise.ledger.months import Filter, asked
from joulewise.ledger.store import Store, upsert
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.quantities import format_duration, format_si

_KEY = ("pot", "run_id")
_QUANTITIES = ("energy_j", "carbon_g", "cost", "time_s", "trials")
_SUMS = ", ".join(f"SUM(s.{q}) AS {q}, COUNT(s.{q}) AS {q}_known" for q in _QUANTITIES)
_UNITS = {"energy_j": "J", "carbon_g": "g"}
_PROCESS = ("host", "boot", "pid", "pid_start")
_COLUMNS = (*_KEY, *_QUANTITIES, "updated_utc", "ended", *_PROCESS)
_SPEND = upsert("pot_spending", _COLUMNS, _KEY)


@dataclass(frozen=True, slots=True)
class Spending:
    """What one run has spent since it began. None is unknown, which is not zero."""

    energy_j: float | None = None
    carbon_g: float | None = None
    cost: float | None = None
    time_s: float | None = None
    trials: int | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """What all runs of a pot have spent: sums of what is known, and the names of what some run does not know."""

    spent: Spending
    members: int
    incomplete: tuple[str, ...] = ()


class MemberState(StrEnum):
    """What is known about a run that spends from a pot."""

    SPENDING = "spending"  # its process is alive
    ENDED = "ended"  # it said so
    LOST = "lost"  # its process is gone without a word; what it had spent stands
    ELSEWHERE = "elsewhere"  # it is on another host, which alone can tell


@dataclass(frozen=True, slots=True)
class Member:
    """One run that spends from a pot."""

    run_id: str
    spent: Spending
    state: MemberState
    host: str
    updated_utc: datetime


@dataclass(frozen=True, slots=True)
class PotLine:
    """One pot as it is listed."""

    name: str
    limits: Mapping[str, Any]
    created_utc: datetime
    total: Total

    @property
    def left(self) -> list[Left]:
        """How each limit stands that is a sum: joules, grams, money, time, trials."""
        total, unit = self.total, str(self.limits.get("currency", ""))
        found = []
        for name in _QUANTITIES:
            if isinstance(limit := self.limits.get(name), int | float):
                used = getattr(total.spent, name)
                used = 0.0 if used is None and not total.members else used
                found.append(Left(name, float(limit), used, name in total.incomplete, unit))
        return found


@dataclass(frozen=True, slots=True)
class Left:
    """How one limit of a pot stands. `used` is None where no run knows it; `least`: some run does not, so it is more."""

    name: str
    limit: float
    used: float | None
    least: bool
    currency: str

    @property
    def share(self) -> float:
        """The part that is used; above 1 where it was passed."""
        return (self.used or 0.0) / self.limit if self.limit > 0 else 0.0

    @property
    def words(self) -> str:
        """What is used and what is left, in words."""
        limit = amount_words(self.name, self.limit, self.currency)
        if self.used is None:
            return f"{limit}; what was used is not known"
        rest = self.limit - self.used
        left = f"{amount_words(self.name, abs(rest), self.currency)} {'left' if rest >= 0 else 'over'}"
        least, most = ("at least ", "at most ") if self.least else ("", "")
        return f"{least}{amount_words(self.name, self.used, self.currency)} of {limit} used, {most if rest >= 0 else least}{left}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the runs of one key (a person, project, device, zone or host) have drawn from a pot, as `Total` has it."""

    pot: str
    key: str
    runs: int
    spent: Spending
    incomplete: tuple[str, ...] = ()


@final
class Pot:
    """The pot called `name` in a ledger. It exists once somebody has joined it."""

    def __init__(self, store: Store, name: str) -> None:
        if not name or "\0" in name:
            raise UsageError(f"the pot is called {name!r}; give it a name, for instance night-sweep")
        self.name = name
        self._store = store
        self._process = {
            "host": os.uname().nodename,
            "boot": boot_id(),
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
        }

    def join(self, limits: Mapping[str, Any]) -> None:
        """Make the pot with these limits, or join the one there is; UsageError if its limits are others."""
        text = _canonical(limits)
        self._store.execute(
            "INSERT INTO pots (name, limits, created_utc) VALUES (:name, :limits, :now) ON CONFLICT (name) DO NOTHING",
            {"name": self.name, "limits": text, "now": _now()},
        )
        there = _limits(self._store, self.name)
        if _canonical(there) != text:
            raise UsageError(
                f"the pot {self.name!r} has the limits {_words(there)}, not {_words(limits)}; join it with its own limits, or "
                "choose another name"
            )

    def limits(self) -> Mapping[str, Any]:
        """Return the limits that the pot was made with."""
        return _limits(self._store, self.name)

    def spend(self, run_id: str, spent: Spending, *, ended: bool = False) -> None:
        """Write what `run_id` has spent since it began; `ended` says that this is all. Call it as often as you like, after `join`."""
        row = {"pot": self.name, "run_id": run_id, **_values(spent)}
        self._store.execute(_SPEND, {**row, "updated_utc": _now(), "ended": int(ended), **self._process})

    def spent(self) -> Total:
        """Return what all runs of the pot have spent so far."""
        return _totals(self._store, self.name).get(self.name, Total(Spending(), 0))

    def members(self) -> list[Member]:
        """Return the runs that spend, or have spent, from the pot; in the order of their ids."""
        rows = self._store.query(
            "SELECT * FROM pot_spending WHERE pot = :pot ORDER BY run_id", {"pot": self.name}
        )
        return [
            Member(
                r["run_id"],
                _spending(r),
                _state(r),
                r["host"],
                datetime.fromisoformat(r["updated_utc"]),
            )
            for r in rows
        ]


def list_pots(store: Store) -> list[PotLine]:
    """Return all pots with what was spent from them, newest first."""
    totals = _totals(store)
    return [
        PotLine(
            r["name"],
            json.loads(r["limits"]),
            datetime.fromisoformat(r["created_utc"]),
            totals.get(r["name"], Total(Spending(), 0)),
        )
        for r in store.query("SELECT * FROM pots ORDER BY created_utc DESC, name")
    ]


def amount_words(name: str, value: float, currency: str = "") -> str:
    """Return an amount of a pot's quantity in words."""
    if name == "time_s":
        return format_duration(value)
    if name == "trials":
        return f"{value:g} trials"
    return format_si(value, _UNITS[name]) if name in _UNITS else f"{value:.4g} {currency or 'in money'}"


def drawn(store: Store, by: str, chosen: Filter) -> list[Drawn]:
    """Return what runs of these months have drawn from pots, by `by` (person, project, device, zone, host).

    A run counts whole, also where it went on in another month: a pot knows no months. One within another run is part of that one.
    """
    key, where, values = asked(by, chosen)
    rows = store.query(
        f"SELECT s.pot AS pot, m.key AS key, COUNT(*) AS runs, {_SUMS} FROM pot_spending s JOIN "  # noqa: S608 - names of ours
        f"(SELECT run_id, MIN({key}) AS key FROM months {where} AND run_id IN (SELECT run_id FROM pot_spending) GROUP BY run_id) m "
        "ON m.run_id = s.run_id GROUP BY s.pot, m.key ORDER BY s.pot, m.key",
        values,
    )
    return [Drawn(r["pot"], r["key"], r["runs"], *_summed(r, r["runs"])) for r in rows]


def _totals(store: Store, name: str | None = None) -> dict[str, Total]:
    where = "WHERE pot = :pot" if name is not None else ""
    rows = store.query(
        f"SELECT pot, COUNT(*) AS members, {_SUMS} FROM pot_spending s {where} GROUP BY pot",  # noqa: S608 - names of ours
        {"pot": name} if name is not None else None,
    )
    totals: dict[str, Total] = {}
    for row in rows:
        spent, incomplete = _summed(row, row["members"])
        totals[row["pot"]] = Total(spent, row["members"], incomplete)
    return totals


def _summed(row: Mapping[str, Any], members: int) -> tuple[Spending, tuple[str, ...]]:
    """Return a row of `_SUMS`: what is known, and which quantities some of its `members` do not know."""
    known = {
        q: None if row[q] is None else (int(row[q]) if q == "trials" else float(row[q])) for q in _QUANTITIES
    }
    return _spending(known), tuple(q for q in _QUANTITIES if row[f"{q}_known"] < members)


def _limits(store: Store, name: str) -> Mapping[str, Any]:
    rows = store.query("SELECT limits FROM pots WHERE name = :name", {"name": name})
    if not rows:
        known = [r["name"] for r in store.query("SELECT name FROM pots ORDER BY created_utc DESC LIMIT 1000")]
        raise UnknownName("pot", name, known)
    limits: Mapping[str, Any] = json.loads(rows[0]["limits"])
    return limits


def _state(row: Mapping[str, Any]) -> MemberState:
    if row["ended"]:
        return MemberState.ENDED
    if row["host"] != os.uname().nodename:
        return MemberState.ELSEWHERE
    alive = is_alive(row["host"], row["boot"], row["pid"], row["pid_start"])
    return MemberState.SPENDING if alive else MemberState.LOST


def _values(spent: Spending) -> dict[str, Any]:
    values = {f.name: getattr(spent, f.name) for f in fields(spent)}
    return {q: v if v is not None and math.isfinite(v) else None for q, v in values.items()}


def _spending(values: Mapping[str, Any]) -> Spending:
    return Spending(*(values[q] for q in _QUANTITIES))


def _canonical(limits: Mapping[str, Any]) -> str:
    known = {
        k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v
        for k, v in limits.items()
        if v is not None
    }
    return json.dumps(known, sort_keys=True, allow_nan=False)


def _words(limits: Mapping[str, Any]) -> str:
    return (
        ", ".join(
            f"{k} {v:g}" if isinstance(v, float | int) else f"{k} {v}"
            for k, v in sorted(limits.items())
            if v is not None
        )
        or "(none)"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
