"""The queue's jobs: what was asked, what is planned, what was decided and why.

Whoever submits, plans or cancels writes here; running is the business of leases.py. A job's line holds what lists and
workers look at, so that neither reads a ticket: 10,000 of them are listed from their lines alone. Plans are plain
values here (a placement as `scheduling.saved` writes it): the ledger keeps them, it does not know what they mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from joulewise.ledger.job_rows import (
    Attempt,
    Decision,
    Line,
    Planned,
    Work,
    attempt,
    iso,
    line,
    ran_s,
    stretches,
    stretches_as_text,
)
from joulewise.ledger.store import Store, insert
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.ticket import OPEN, Needs, Stage, Ticket, ticket_as_json, ticket_from_json

__all__ = [
    "LINE", "Attempt", "Decision", "Line", "Planned", "Work", "add", "attempt", "attempts", "cancel", "count",
    "decide", "find", "iso", "line", "lines", "make_promise", "open_work", "placement", "placements", "promise",
    "ran_s", "replace_placement", "rows", "start_delays", "story", "stretches", "stretches_as_text", "ticket",
    "tickets", "used", "withdraw", "write_plans",
]  # fmt: skip

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # 32 letters, none taken for another (Crockford)
_LINE = (
    "id", "name", "owner", "engine", "zone", "stage", "priority", "cpus", "gpus", "memory_bytes", "submitted_utc",
    "deadline_utc", "start_utc", "latest_utc", "fence", "failures", "wanted", "reason", "exit_code", "ended_utc",
    "planned_utc",
)  # fmt: skip
LINE = ", ".join(f"jobs.{c}" for c in _LINE)
_PAPERS = ("job", "ticket", "placement", "promise")
_INSERT, _INSERT_PAPERS = insert("jobs", _LINE), insert("job_papers", _PAPERS)
_MOVED = timedelta(minutes=15)  # a smaller move is no news
_FIRST = "CASE WHEN promise = '' THEN {} ELSE promise END"
_DECIDE = (
    "INSERT INTO job_decisions (job, number, at_utc, what, reason, who) "
    "SELECT :job, COALESCE(MAX(number), 0) + 1, :at_utc, :what, :reason, :who FROM job_decisions WHERE job = :job"
)


def add(store: Store, ticket: Ticket, planned: Planned, now_utc: datetime, *, who: str = "") -> str:
    """Write a new job into the queue and return its id. All or nothing; `planned.job` is not looked at."""
    job_id = "".join(_ALPHABET[byte % 32] for byte in os.urandom(8))
    placement = "" if planned.placement is None else _json(planned.placement)
    row = {
        "id": job_id,
        "name": ticket.job.name,
        "owner": ticket.owner,
        "engine": ticket.engine,
        "zone": planned.zone,
        "stage": Stage.QUEUED.value,
        "priority": ticket.priority,
        "cpus": ticket.needs.cpus,
        "gpus": ticket.needs.gpus,
        "memory_bytes": ticket.needs.memory_bytes,
        "submitted_utc": iso(now_utc),
        "deadline_utc": iso(ticket.job.deadline_utc),
        "start_utc": iso(planned.start_utc),
        "latest_utc": iso(planned.latest_utc),
        "fence": 0,
        "failures": 0,
        "wanted": "",
        "reason": planned.reason,
        "exit_code": None,
        "ended_utc": "",
        "planned_utc": "",
    }
    papers = {"job": job_id, "ticket": _json(ticket_as_json(ticket)), "placement": placement, "promise": ""}
    with store.transaction():
        store.execute(_INSERT, row)
        store.execute(_INSERT_PAPERS, papers)
        decide(store, now_utc, (job_id, "submitted", planned.reason), who=who or ticket.owner)
    return job_id


def lines(
    store: Store,
    stages: Iterable[Stage] = OPEN,
    *,
    owner: str | None = None,
    limit: int | None = None,
) -> list[Line]:
    """Return jobs in these stages, the oldest first (with a limit: the newest of them)."""
    found = rows(store, stages, _LINE, owner=owner, limit=limit)
    found.sort(key=lambda row: (row["submitted_utc"], row["id"]))
    return [line(row) for row in found]


def rows(
    store: Store,
    stages: Iterable[Stage],
    columns: Sequence[str],
    *,
    owner: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return some columns of jobs in these stages as the table holds them, in no order (with a limit: the newest)."""
    names = [Stage(s).value for s in stages]
    where, values = _in("stage", names)
    if owner is not None:
        where, values = f"{where} AND owner = :owner", {**values, "owner": owner}
    newest = "" if limit is None else f" ORDER BY submitted_utc DESC, id DESC LIMIT {int(limit)}"
    return store.query(f"SELECT {', '.join(columns)} FROM jobs WHERE {where}{newest}", values)  # noqa: S608 - names of ours


def count(store: Store) -> dict[Stage, int]:
    """Return how many jobs stand in each stage."""
    rows = store.query("SELECT stage, COUNT(*) AS count FROM jobs GROUP BY stage")
    return {Stage(row["stage"]): int(row["count"]) for row in rows}


def find(store: Store, text: str) -> Line:
    """Return the job that `text` names: `latest`, an id or its beginning, a name (the newest of it)."""
    if text == "latest":
        rows = store.query(f"SELECT {LINE} FROM jobs ORDER BY submitted_utc DESC, id DESC LIMIT 1")  # noqa: S608
        if not rows:
            raise UsageError("the queue has had no job yet; joulewise submit -- COMMAND submits one")
        return line(rows[0])
    for condition, limit in (("id = :text", 2), ("id >= :text AND id < :end", 2), ("name = :text", 1)):
        rows = store.query(
            f"SELECT {LINE} FROM jobs WHERE {condition} ORDER BY submitted_utc DESC, id DESC LIMIT {limit}",  # noqa: S608
            {"text": text, "end": text + "\U0010ffff"} if ":end" in condition else {"text": text},
        )
        if len(rows) > 1:
            raise UsageError(f"{text!r} is the beginning of several jobs; write more of the id")
        if rows:
            return line(rows[0])
    known = store.query("SELECT id, name FROM jobs ORDER BY submitted_utc DESC LIMIT 200")
    like_id = [r["id"] for r in known if abs(len(text) - len(r["id"])) < 2]  # others are near by chance
    raise UnknownName("job", text, like_id + [r["name"] for r in known], "('joulewise queue' lists them)")


def ticket(store: Store, job_id: str) -> Ticket:
    """Return what was asked for a job."""
    return tickets(store, [job_id])[job_id]


def tickets(store: Store, ids: Sequence[str]) -> dict[str, Ticket]:
    """Return the tickets of these jobs by id."""
    return {key: ticket_from_json(json.loads(text)) for key, text in _texts(store, "ticket", ids).items()}


def placement(store: Store, job_id: str) -> Mapping[str, Any] | None:
    """Return the plan in force for a job as plain values; None where it has none."""
    return placements(store, [job_id]).get(job_id)


def placements(store: Store, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the plans in force of these jobs by id, of those that have one."""
    return {key: json.loads(text) for key, text in _texts(store, "placement", ids).items() if text}


def promise(store: Store, job_id: str) -> Mapping[str, Any] | None:
    """Return the plan that a job is settled against: the first under the capacity there was; None without."""
    text = _texts(store, "promise", [job_id])[job_id]
    return json.loads(text) if text else placement(store, job_id)


def write_plans(store: Store, planned: Sequence[Planned], now_utc: datetime, *, who: str) -> int:
    """Write what a plan says of these jobs, of those that still wait, all in one transaction; return how many.

    The first plan of a job becomes its promise. A line stands in its story where the start moved by a quarter of an hour.
    """
    if not planned:
        return 0
    now = iso(now_utc)
    with store.transaction():
        before = {
            row["id"]: (datetime.fromisoformat(row["start_utc"]), row["planned_utc"])
            for row in store.query(
                "SELECT id, start_utc, planned_utc FROM jobs WHERE stage = :stage",
                {"stage": Stage.QUEUED.value},
            )
        }
        kept = [p for p in planned if p.job in before]
        if kept:
            store.execute(
                "UPDATE jobs SET zone = :zone, start_utc = :start, latest_utc = :latest, reason = :reason, "
                "planned_utc = :now WHERE id = :id AND stage = 'queued'",
                *(
                    {
                        "id": p.job,
                        "zone": p.zone,
                        "start": iso(p.start_utc),
                        "latest": iso(p.latest_utc),
                        "reason": p.reason,
                        "now": now,
                    }
                    for p in kept
                ),
            )
            store.execute(
                f"UPDATE job_papers SET placement = :placement, promise = {_FIRST.format(':placement')} WHERE job = :job",  # noqa: S608
                *(
                    {"job": p.job, "placement": "" if p.placement is None else _json(p.placement)}
                    for p in kept
                ),
            )
        words = [
            (p.job, "moved" if before[p.job][1] else "planned", p.reason)
            for p in kept
            if not before[p.job][1] or abs(p.start_utc - before[p.job][0]) >= _MOVED
        ]
        decide(store, now_utc, *words, who=who)
    return len(kept)


def replace_placement(
    store: Store,
    job_id: str,
    fence: int,
    told: Mapping[str, Any],
    now_utc: datetime,
    start_utc: datetime | None = None,
) -> bool:
    """Write another plan, and where it has not begun another start, for a job that is with a worker or an engine.

    False where that attempt is over.
    """
    with store.transaction():
        changed = store.execute(
            "UPDATE jobs SET planned_utc = :now, start_utc = CASE WHEN :start = '' THEN start_utc ELSE :start END "
            "WHERE id = :id AND fence = :fence AND stage IN ('running', 'paused')",
            {"now": iso(now_utc), "start": iso(start_utc) if start_utc else "", "id": job_id, "fence": fence},
        )
        if changed:
            store.execute(
                "UPDATE job_papers SET placement = :placement WHERE job = :id",
                {"placement": _json(told), "id": job_id},
            )
    return bool(changed)


def cancel(store: Store, job_id: str, now_utc: datetime, *, who: str) -> Stage:
    """Ask for the end of a job and return its stage then: one that waits is over at once, one that runs is asked.

    UsageError where it is over already.
    """
    with store.transaction():
        done = store.execute(
            "UPDATE jobs SET stage = 'cancelled', ended_utc = :now, reason = :reason WHERE id = :id AND stage = 'queued'",
            {"now": iso(now_utc), "reason": f"cancelled by {who} before it started", "id": job_id},
        )
        asked = 0 if done else store.execute(
            "UPDATE jobs SET wanted = 'cancel' WHERE id = :id AND stage IN ('running', 'paused')", {"id": job_id}
        )  # fmt: skip
        if done or asked:
            decide(store, now_utc, (job_id, "cancelled" if done else "cancel asked", f"by {who}"), who=who)
    found = find(store, job_id)
    if not done and not asked:
        raise UsageError(f"{job_id} is over already ({found.stage}): nothing to cancel")
    return found.stage


def decide(store: Store, now_utc: datetime, *words: tuple[str, str, str], who: str) -> None:
    """Write lines (job, what, reason) into the stories of jobs."""
    if words:
        at = iso(now_utc)
        store.execute(
            _DECIDE, *({"job": j, "what": w, "reason": r, "at_utc": at, "who": who} for j, w, r in words)
        )


def story(store: Store, job_id: str) -> list[Decision]:
    """Return what was decided about a job, oldest first."""
    rows = store.query(
        "SELECT at_utc, what, reason, who FROM job_decisions WHERE job = :id ORDER BY number", {"id": job_id}
    )
    return [Decision(datetime.fromisoformat(r["at_utc"]), r["what"], r["reason"], r["who"]) for r in rows]


def attempts(store: Store, job_id: str) -> list[Attempt]:
    """Return the attempts to run a job, oldest first."""
    rows = store.query("SELECT * FROM job_attempts WHERE job = :id ORDER BY fence", {"id": job_id})
    return [attempt(row) for row in rows]


def used(store: Store, since_utc: datetime, now_utc: datetime) -> dict[str, float]:
    """Return the processor seconds (GPUs count as eight) that each owner's jobs took since then."""
    rows = store.query(
        "SELECT jobs.owner, jobs.cpus, jobs.gpus, job_attempts.ran FROM job_attempts "
        "JOIN jobs ON jobs.id = job_attempts.job WHERE job_attempts.ended_utc = '' OR job_attempts.ended_utc > :since",
        {"since": iso(since_utc)},
    )
    sums: dict[str, float] = {}
    for row in rows:
        seconds = sum(
            max(0.0, ((end or now_utc) - max(begin, since_utc)).total_seconds())
            for begin, end in stretches(row["ran"])
        )
        sums[row["owner"]] = sums.get(row["owner"], 0.0) + seconds * (row["cpus"] + 8 * row["gpus"])
    return sums


def open_work(store: Store, engine: str, zone: str, now_utc: datetime, most: int = 1000) -> list[Work]:
    """Return the open jobs of an engine in a zone; of those that wait the most pressing `most`."""
    columns = "cpus, gpus, memory_bytes, latest_utc, deadline_utc, stage"
    where = {"engine": engine, "zone": zone}
    rows = store.query(
        f"SELECT {columns}, worker, ran FROM jobs JOIN job_attempts "  # noqa: S608 - names of ours
        "ON job_attempts.job = jobs.id AND job_attempts.fence = jobs.fence "
        "WHERE stage IN ('running', 'paused') AND engine = :engine AND zone = :zone",
        where,
    )
    rows += store.query(
        f"SELECT {columns}, '' AS worker, NULL AS ran FROM jobs "  # noqa: S608 - names of ours
        "WHERE stage = 'queued' AND engine = :engine AND zone = :zone ORDER BY latest_utc LIMIT :most",
        {**where, "most": most},
    )
    return [
        Work(
            Needs(r["cpus"], r["gpus"], r["memory_bytes"]),
            datetime.fromisoformat(r["latest_utc"]),
            datetime.fromisoformat(r["deadline_utc"]),
            None if r["ran"] is None else ran_s(stretches(r["ran"]), now_utc),
            Stage(r["stage"]),
            r["worker"],
        )
        for r in rows
    ]


def withdraw(store: Store, job_id: str) -> None:
    """Take back what `add` wrote of a job, as if it had never been submitted."""
    with store.transaction():
        for table, column in (
            ("leases", "name"), ("job_attempts", "job"), ("job_decisions", "job"), ("job_papers", "job"), ("jobs", "id"),
        ):  # fmt: skip
            store.execute(f"DELETE FROM {table} WHERE {column} = :id", {"id": job_id})  # noqa: S608 - names of ours


def start_delays(store: Store, engine: str, most: int = 100) -> list[float]:
    """Return the seconds from handing a job to an engine until it ran, of the last attempts that are over; in growing order.

    Of one that was handed over ahead, from its planned start on. One that was held back before it began tells nothing.
    """
    rows = store.query(
        "SELECT job_attempts.begun_utc, job_attempts.ran, jobs.start_utc, (SELECT MIN(at_utc) FROM job_decisions "
        "WHERE job = jobs.id AND what = 'paused' AND at_utc >= job_attempts.begun_utc) AS paused_utc FROM job_attempts "
        "JOIN jobs ON jobs.id = job_attempts.job WHERE jobs.engine = :engine AND job_attempts.ended_utc <> '' "
        "ORDER BY job_attempts.ended_utc DESC LIMIT :most",
        {"engine": engine, "most": most},
    )
    found = []
    for row in rows:
        ran = stretches(row["ran"])
        if ran and not (row["paused_utc"] and datetime.fromisoformat(row["paused_utc"]) < ran[0][0]):
            began, begun, start = (
                ran[0][0],
                *(datetime.fromisoformat(row[c]) for c in ("begun_utc", "start_utc")),
            )
            found.append(max(0.0, (began - (start if begun < start <= began else begun)).total_seconds()))
    return sorted(found)


def make_promise(store: Store, job_id: str) -> None:
    """Let the plan in force be what a job is settled against, if no planning has made a promise yet."""
    sql = f"UPDATE job_papers SET promise = {_FIRST.format('placement')} WHERE job = :id"  # noqa: S608
    store.execute(sql, {"id": job_id})


def _texts(store: Store, column: str, ids: Sequence[str]) -> dict[str, str]:
    if len(ids) > 500:  # one scan beats many parameters
        wanted = set(ids)
        rows = store.query(
            f"SELECT job, {column} FROM job_papers JOIN jobs ON jobs.id = job_papers.job "  # noqa: S608
            "WHERE stage IN ('queued', 'running', 'paused')"
        )
        return {row["job"]: row[column] for row in rows if row["job"] in wanted}
    where, values = _in("job", ids)
    rows = store.query(f"SELECT job, {column} FROM job_papers WHERE {where}", values)  # noqa: S608 - names of ours
    return {row["job"]: row[column] for row in rows}


def _in(column: str, values: Iterable[str]) -> tuple[str, dict[str, str]]:
    named = {f"v{n}": value for n, value in enumerate(values)}
    return f"{column} IN ({', '.join(':' + name for name in named) or 'NULL'})", named


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
