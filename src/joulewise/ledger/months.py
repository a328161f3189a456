"""One row a recording and month: what team totals are summed from, without opening or even looking at a recording.

A recording that lasts over the end of a month has a row in each, its joules divided by what its devices had used at
that moment (by time, where no device was read). Rows are narrow and lie by month, so that a month of a hundred
thousand recordings is one short scan. A ledger of before had its rows made from its summaries: `person` is NULL there
until the recording is read again.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

from joulewise.ledger.store import Store, upsert
from joulewise.vocabulary.errors import UnknownName
from joulewise.vocabulary.figures import Basis, Boundary, Figure
from joulewise.vocabulary.recording import Recording

BY = ("person", "project", "device", "zone", "host", "month")
_WHO = ("person", "project", "host", "zone", "device", "site", "role", "inside")
_ENERGY = ("energy_j", "energy_low_j", "energy_high_j", "energy_basis", "boundary")
_COLUMNS = ("month", "run_id", *_WHO, "duration_s", *_ENERGY)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows count: months from `since` to `until` ("2026-11", both included; "" is open), one project, person, device, zone."""

    since: str = ""
    until: str = ""
    project: str | None = None
    person: str | None = None
    device: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """Recordings of one key, month and place together. `energy_j` is of those that know it (None: none does)."""

    key: str
    month: str
    zone: str
    site: str  # what decides uplift and PUE: see Summary
    runs: int
    unknown: int  # of them, with joules that are not known
    energy_j: Figure | None
    duration_s: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """One recording's part in a month, for what must be weighed by its hours."""

    key: str
    month: str
    zone: str
    started_utc: datetime
    duration_s: float
    energy_j: float


def month_shares(recording: Recording) -> dict[str, tuple[float, float]]:
    """Return, by month, which share of a recording's joules and of its seconds it holds; the shares add up to 1."""
    start = recording.started_utc.astimezone(UTC)
    end = start + timedelta(seconds=recording.duration_s)
    months: list[tuple[str, float]] = []
    at = start
    while (border := _next_month(at)) < end:
        months.append((f"{at:%Y-%m}", (border - start).total_seconds()))
        at = border
    if not months:
        return {f"{start:%Y-%m}": (1.0, 1.0)}
    months.append((f"{at:%Y-%m}", recording.duration_s))
    shares, before_j, before_s = {}, 0.0, 0.0
    for month, until_s in months:
        so_far_j, so_far_s = _used_until(recording, until_s), until_s / recording.duration_s
        shares[month] = (so_far_j - before_j, so_far_s - before_s)
        before_j, before_s = so_far_j, so_far_s
    return shares


def rows_of(row: Mapping[str, Any], shares: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Return the rows of a recording: `row` holds its columns in the index and who, what and where it was."""
    rows = []
    for month, (joules, seconds) in shares.items():
        made = {name: row[name] for name in _COLUMNS if name in row} | {"month": month}
        made["duration_s"] = row["duration_s"] * seconds
        for part in _ENERGY[:3]:
            made[part] = None if row[part] is None else row[part] * joules
        rows.append(made)
    return rows


def write_months(store: Store, run_ids: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the rows of these recordings."""
    ids = [{"run_id": run_id} for run_id in run_ids]
    if ids:
        store.execute("DELETE FROM months WHERE run_id = :run_id", *ids)
    if rows:
        store.execute(upsert("months", _COLUMNS, _COLUMNS[:2]), *rows)


def unread(store: Store, root: str, most: int) -> list[dict[str, Any]]:
    """Return recordings of a folder whose rows were made from their summaries alone, the newest first."""
    return store.query(
        "SELECT r.* FROM months m CROSS JOIN recordings r WHERE r.run_id = m.run_id "  # in this order, for SQLite
        "AND m.person IS NULL AND r.root = :root ORDER BY m.month DESC LIMIT :most",
        {"root": root, "most": most},
    )


def give_up(store: Store, run_ids: Iterable[str]) -> None:
    """Leave rows as their summaries made them: these recordings cannot be read."""
    ids = [{"run_id": run_id} for run_id in run_ids]
    if ids:
        store.execute("UPDATE months SET person = '' WHERE run_id = :run_id AND person IS NULL", *ids)


def sums(store: Store, by: str, chosen: Filter) -> list[Sum]:
    """Return what was used by month, place and `by` (person, project, device, zone, host, month); recordings within others are left out.

    Joules of several recordings add linearly: those of one machine share its meter's error.
    """
    key, where, values = asked(by, chosen)
    rows = store.query(
        f"SELECT {key} AS key, month, COALESCE(zone, '') AS zone, COALESCE(site, '') AS site, boundary, "  # noqa: S608 - names of ours
        "energy_basis, COUNT(*) AS runs, COUNT(energy_j) AS known, SUM(energy_j) AS joules, SUM(energy_low_j) AS low, "
        f"SUM(energy_high_j) AS high, SUM(duration_s) AS seconds FROM months {where} GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 2, 1, 3, 4",
        values,
    )
    return [
        Sum(
            r["key"], r["month"], r["zone"], r["site"], r["runs"], r["runs"] - r["known"],
            _figure(r["joules"], r["low"], r["high"], r["energy_basis"], r["boundary"]), r["seconds"],
        )
        for r in rows
    ]  # fmt: skip


def stretches(store: Store, by: str, chosen: Filter, zones: Sequence[str]) -> list[Stretch]:
    """Return the single recordings in these zones whose joules are known: for zones whose hours were kept."""
    if not zones:
        return []
    key, where, values = asked(by, chosen)
    named = {f"zone{number}": zone for number, zone in enumerate(zones)}
    rows = store.query(
        "SELECT m.key, m.month, m.zone, r.started_utc AS started, r.duration_s AS seconds, m.energy_j AS joules "  # noqa: S608
        f"FROM (SELECT {key} AS key, month, COALESCE(zone, '') AS zone, run_id, energy_j FROM months {where}) m "
        f"JOIN recordings r ON r.run_id = m.run_id WHERE m.energy_j IS NOT NULL AND m.zone IN ({', '.join(':' + n for n in named)})",
        {**values, **named},
    )
    return [
        Stretch(
            r["key"],
            r["month"],
            r["zone"],
            datetime.fromisoformat(r["started"]),
            r["seconds"],
            r["joules"],
        )
        for r in rows
    ]


def work(store: Store, chosen: Filter, thing: str) -> dict[str, tuple[float, float]]:
    """Return, by month, the joules and the count of `thing` of recordings that counted it (their last point's `thing`)."""
    _, where, values = asked("month", chosen)
    rows = store.query(
        "SELECT m.month, m.energy_j AS joules, m.duration_s / CASE WHEN r.duration_s > 0 THEN r.duration_s ELSE 1 END AS part, "  # noqa: S608
        f"r.last_point AS point FROM (SELECT month, run_id, energy_j, duration_s FROM months {where}) m "
        "JOIN recordings r ON r.run_id = m.run_id WHERE m.energy_j IS NOT NULL AND r.last_point LIKE :thing",
        {**values, "thing": f"%{json.dumps(thing)}%"},
    )
    done: dict[str, tuple[float, float]] = {}
    for row in rows:
        count = json.loads(row["point"]).get(thing)
        if isinstance(count, int | float) and count > 0:
            joules, units = done.get(row["month"], (0.0, 0.0))
            done[row["month"]] = (joules + row["joules"], units + count * min(1.0, row["part"]))
    return done


def asked(by: str, chosen: Filter) -> tuple[str, str, dict[str, Any]]:
    """Return the key's expression, the WHERE clause and its values, for a query over `months`."""
    if by not in BY:
        raise UnknownName("grouping", by, BY, f"(known are {', '.join(BY)})")
    parts: list[str] = ["COALESCE(inside, '') = ''"]
    values: dict[str, Any] = {}
    for column, sign, value in (
        ("month", ">=", chosen.since or None),
        ("month", "<=", chosen.until or None),
        ("project", "=", chosen.project),
        ("person", "=", chosen.person),
        ("device", "=", chosen.device),
        ("zone", "=", chosen.zone),
    ):
        if value is not None:
            name = f"asked{len(values)}"
            wanted = column if column == "month" else f"COALESCE({column}, '')"
            parts.append(f"{wanted} {sign} :{name}")
            values[name] = value
    return f"COALESCE({by}, '')", "WHERE " + " AND ".join(parts), values


def _figure(
    value: float | None, low: float | None, high: float | None, basis: str | None, boundary: str
) -> Figure | None:
    """Return a sum as a figure; an end that some recording does not know is open."""
    if value is None or basis is None:
        return None
    ends = (-inf if low is None else min(low, value), inf if high is None else max(high, value))
    return Figure(value, *ends, Basis[basis.upper()], boundary=Boundary(boundary))


def _used_until(recording: Recording, t_s: float) -> float:
    """Return which share of its devices' joules a recording had used at `t_s`; of its time, where none was read."""
    ticks = recording.ticks
    used = whole = 0.0
    for device in recording.devices:
        known = [
            (t, j)
            for t, j in zip(ticks.t_s, ticks.energy_j.get(device.id, ()), strict=False)
            if j is not None
        ]
        if device.counted and len(known) > 1:
            used += _at(known, t_s) - known[0][1]
            whole += known[-1][1] - known[0][1]
    return min(1.0, used / whole) if whole > 0 else t_s / recording.duration_s


def _at(points: Sequence[tuple[float, float]], t_s: float) -> float:
    """Return a series at a moment, on a straight line between its points and constant beyond them."""
    place = bisect_right(points, t_s, key=lambda point: point[0])
    if place == 0:
        return points[0][1]
    if place == len(points):
        return points[-1][1]
    (before_s, before_j), (after_s, after_j) = points[place - 1], points[place]
    return before_j + (after_j - before_j) * (t_s - before_s) / (after_s - before_s)


def _next_month(moment: datetime) -> datetime:
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
