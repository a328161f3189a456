"""The index over the recordings: what `joulewise runs` lists, and how a recording is found by id, name or tag."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from joulewise.ledger.store import Store
from joulewise.ledger.summary import Summary, iso, summary_of
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.recording import EndState

ORDERS = {
    "newest": "started_utc DESC, run_id DESC",
    "oldest": "started_utc, run_id",
    "energy": "energy_j IS NULL, energy_j DESC, run_id DESC",
    "duration": "duration_s DESC, run_id DESC",
    "name": "name, started_utc DESC",
}


def list_runs(
    store: Store,
    *,
    text: str | None = None,
    name: str | None = None,
    state: EndState | None = None,
    since: datetime | None = None,
    limit: int | None = 20,
    offset: int = 0,
    order: str = "newest",
) -> list[Summary]:
    """Return recordings, newest first unless `order` says otherwise (newest, oldest, energy, duration, name).

    `text` is looked for in id, name, command, tags and parameters; `name` is the beginning of a name; `since` an
    aware time.
    """
    if order not in ORDERS:
        raise UnknownName("order", order, ORDERS)
    where, values = _where(store, text, name, state, since)
    sql = f"SELECT * FROM recordings {where} ORDER BY {ORDERS[order]} LIMIT :limit OFFSET :offset"  # noqa: S608
    rows = store.query(sql, {**values, "limit": 2**62 if limit is None else limit, "offset": offset})
    return [summary_of(row, store) for row in rows]


def count_runs(
    store: Store,
    *,
    text: str | None = None,
    name: str | None = None,
    state: EndState | None = None,
    since: datetime | None = None,
) -> int:
    """Return how many recordings `list_runs` would list without a limit."""
    where, values = _where(store, text, name, state, since)
    return int(store.query(f"SELECT COUNT(*) AS count FROM recordings {where}", values)[0]["count"])  # noqa: S608


def like_runs(store: Store, command: str, limit: int = 50) -> list[Summary]:
    """Return the finished recordings of exactly this command, newest first."""
    rows = store.query(
        "SELECT * FROM recordings WHERE command = :command AND state = 'finished' ORDER BY started_utc DESC LIMIT :limit",
        {"command": command, "limit": limit},
    )
    return [summary_of(row, store) for row in rows]


def known_runs(store: Store, run_ids: Sequence[str]) -> list[Summary]:
    """Return the recordings of these ids, in their order; what is not known is left out."""
    names = {f"id{number}": run_id for number, run_id in enumerate(run_ids)}
    if not names:
        return []
    rows = store.query(
        f"SELECT * FROM recordings WHERE run_id IN ({', '.join(':' + n for n in names)})",  # noqa: S608
        names,
    )
    found = {row["run_id"]: summary_of(row, store) for row in rows}
    return [found[run_id] for run_id in run_ids if run_id in found]


def role_runs(store: Store, role: str, limit: int) -> list[Summary]:
    """Return the newest recordings of a role (serve), newest first; the narrow table of months is looked through."""
    rows = store.query(
        "SELECT * FROM recordings WHERE run_id IN (SELECT run_id FROM months WHERE role = :role) "
        "ORDER BY started_utc DESC LIMIT :limit",
        {"role": role, "limit": limit},
    )
    return [summary_of(row, store) for row in rows]


def tagged_runs(store: Store, tag: str) -> list[Summary]:
    """Return the recordings that carry this tag, newest first."""
    rows = store.query(
        "SELECT * FROM recordings WHERE tags LIKE :like ORDER BY started_utc DESC",
        {"like": f"%{json.dumps(tag)}%"},
    )
    return [s for s in (summary_of(row, store) for row in rows) if tag in (s.tags or ())]


def job_runs(store: Store, text: str, limit: int) -> list[tuple[str, list[Summary]]]:
    """Return the recordings of the `limit` jobs that began last and whose key holds `text`, each job's oldest first."""
    keys = store.query(
        "SELECT job FROM recordings WHERE job <> '' AND lower(job) LIKE :text ESCAPE '!' GROUP BY job "
        "ORDER BY MAX(started_utc) DESC LIMIT :limit",
        {"text": _like(text), "limit": limit},
    )
    in_order = "SELECT * FROM recordings WHERE job = :job AND job <> '' ORDER BY started_utc, run_id"
    return [
        (key["job"], [summary_of(row, store) for row in store.query(in_order, {"job": key["job"]})])
        for key in keys
    ]


def recorded_jobs(store: Store) -> set[str]:
    """Return the keys of jobs of which there is a recording that was made while they ran."""
    rows = store.query("SELECT DISTINCT job FROM recordings WHERE job <> '' AND role <> 'import'")
    return {row["job"] for row in rows}


def find_run(store: Store, text: str) -> Summary:
    """Return the recording that `text` names: `latest`, an id, the beginning of one id, a name (its latest), or
    the beginning of one name. Raises UnknownName with near matches, UsageError where several could be meant.
    """  # noqa: D205
    if text == "latest":
        newest = list_runs(store, limit=1)
        if not newest:
            raise UsageError("there is no recording yet; make one: joulewise run -- COMMAND")
        return newest[0]
    rows = store.query("SELECT * FROM recordings WHERE run_id = :id", {"id": text})
    begun: list[str] = []
    if not rows and text:
        begun = [r["run_id"] for r in store.query(
            "SELECT run_id FROM recordings WHERE run_id >= :low AND run_id < :high ORDER BY run_id DESC LIMIT 5",
            _beginning(text),
        )]  # fmt: skip
        if len(begun) == 1:
            rows = store.query("SELECT * FROM recordings WHERE run_id = :id", {"id": begun[0]})
    if not rows:
        rows = _latest_of(store, text)
    if not rows and not begun and text:
        names = store.query(
            "SELECT DISTINCT name FROM recordings WHERE name >= :low AND name < :high ORDER BY name LIMIT 5",
            _beginning(text),
        )
        begun = [r["name"] for r in names]
        if len(begun) == 1:
            rows = _latest_of(store, begun[0])
    if rows:
        return summary_of(rows[0], store)
    if begun:
        shown = ", ".join(begun[:4]) + (", ..." if len(begun) > 4 else "")
        raise UsageError(f"{text!r} could be any of {shown}; write more of it")
    known = [r["name"] for r in store.query("SELECT DISTINCT name FROM recordings ORDER BY name LIMIT 5000")]
    raise UnknownName("recording", text, known, "('joulewise runs' lists them)")


def _latest_of(store: Store, name: str) -> list[dict[str, Any]]:
    return store.query(
        "SELECT * FROM recordings WHERE name = :name ORDER BY started_utc DESC, run_id DESC LIMIT 1",
        {"name": name},
    )


def _beginning(text: str) -> dict[str, str]:
    return {"low": text, "high": text + "\U0010ffff"}


def _where(
    store: Store, text: str | None, name: str | None, state: EndState | None, since: datetime | None
) -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    values: dict[str, Any] = {}
    if text:
        # SQLite's LIKE knows no case, and is a third slower with an ESCAPE and two thirds with lower() (100,000 rows)
        like = "ILIKE :text" if store.shared else "LIKE :text"
        like += " ESCAPE '!'" if re.search("[%_!]", text) else ""
        columns = ("run_id", "name", "command", "tags", "params")
        parts.append("(" + " OR ".join(f"{c} {like}" for c in columns) + ")")
        values["text"] = _like(text)
    if name:
        parts.append("name >= :low AND name < :high")
        values.update(_beginning(name))
    if state is not None:
        parts.append("state = :state")
        values["state"] = state.value
    if since is not None:
        parts.append("started_utc >= :since")
        values["since"] = iso(since)
    return ("WHERE " + " AND ".join(parts) if parts else ""), values


def _like(text: str) -> str:
    """Return the pattern of LIKE for what holds `text`, with `!` as its escape."""
    return "%" + re.sub(r"([%_!])", r"!\1", text.lower()) + "%"
