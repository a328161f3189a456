"""Tokens: who may see what of a team's ledger through the dashboard.

A token is 256 random bits; the ledger keeps its SHA-256, so whoever reads the ledger learns no token (a slow hash guards
words that people choose, and would guard nothing here). `see_only` narrows an open ledger to what a token shows: views of
the connection's own stand before the tables, so that every query, also one that is written tomorrow, reads through them.
What they do not name shows nothing, and nothing can be written.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from joulewise.ledger.store import BODY_TABLES, INDEX_TABLES, PRIMARY_TABLES, Store, insert
from joulewise.vocabulary.errors import UnknownName, UsageError

_COLUMNS = ("name", "digest", "people", "projects", "everything", "created_utc")
_RUNS = (
    "SELECT run_id FROM {place}.months WHERE person IN (SELECT name FROM seen_people) "
    "OR project IN (SELECT name FROM seen_projects)"
)
_JOBS = "SELECT id FROM {place}.jobs WHERE owner IN (SELECT name FROM seen_people)"
_SHOWN = {
    **dict.fromkeys(("recordings", "minutes", "months", "wastes", *BODY_TABLES), f"run_id IN ({_RUNS})"),
    "savings": f"before_run IN ({_RUNS}) AND after_run IN ({_RUNS})",
    "pot_spending": f"run_id IN ({_RUNS})",
    "pots": f"name IN (SELECT pot FROM {{place}}.pot_spending WHERE run_id IN ({_RUNS}))",  # noqa: S608 - names of ours
    "jobs": f"id IN ({_JOBS})",
    **dict.fromkeys(("job_papers", "job_attempts", "job_decisions"), f"job IN ({_JOBS})"),
}


@dataclass(frozen=True, slots=True)
class Token:
    """What a token shows: everything, or the recordings (and queued jobs) of these people and of these projects."""

    name: str
    people: tuple[str, ...]
    projects: tuple[str, ...]
    everything: bool
    created_utc: datetime


def add_token(
    store: Store, name: str, people: Sequence[str], projects: Sequence[str], *, everything: bool = False
) -> str:
    """Make a token and return its text, which is known nowhere else. Raises UsageError where the name is taken."""
    if not (people or projects or everything):
        raise UsageError(
            f"the token {name!r} would show nothing; say whose recordings: --person, --project or --all"
        )
    if everything and (people or projects):
        raise UsageError(
            "--all shows everything, so --person and --project would change nothing; leave them out"
        )
    text = f"jw_{secrets.token_urlsafe(32)}"
    row = dict(
        zip(
            _COLUMNS,
            (name, _digest(text), json.dumps(list(people)), json.dumps(list(projects)), int(everything), datetime.now(UTC).isoformat(timespec="seconds")),
            strict=True,
        )
    )  # fmt: skip
    if not store.execute(f"{insert('tokens', _COLUMNS)} ON CONFLICT (name) DO NOTHING", row):
        raise UsageError(f"there is a token {name!r} already; remove it first, or give this one another name")
    return text


def remove_token(store: Store, name: str) -> None:
    """Make a token worthless; UnknownName where there is none of that name."""
    if not store.execute("DELETE FROM tokens WHERE name = :name", {"name": name}):
        raise UnknownName("token", name, [t.name for t in tokens(store)])


def tokens(store: Store) -> list[Token]:
    """Return all tokens by name."""
    return [_token(row) for row in store.query("SELECT * FROM tokens ORDER BY name")]


def find_token(store: Store, text: str) -> Token | None:
    """Return the token that has this text; None where none has."""
    rows = store.query("SELECT * FROM tokens WHERE digest = :digest", {"digest": _digest(text)})
    return _token(rows[0]) if rows else None


def see_only(store: Store, token: Token) -> None:
    """Narrow an open ledger to what a token shows, for as long as it is open."""
    if token.everything:
        return
    place = "main"
    if store.shared:
        place = str(store.query("SELECT current_schema() AS name")[0]["name"])
    with store.transaction():
        for kind, names in (("people", token.people), ("projects", token.projects)):
            store.execute(f"CREATE TEMPORARY TABLE seen_{kind} (name TEXT)")
            if names:
                store.execute(f"INSERT INTO seen_{kind} (name) VALUES (:name)", *({"name": n} for n in names))  # noqa: S608
        for table in (*INDEX_TABLES, *PRIMARY_TABLES, *BODY_TABLES):
            shown = _SHOWN.get(table, "1 = 0").format(place=place)
            store.execute(f"CREATE TEMPORARY VIEW {table} AS SELECT * FROM {place}.{table} WHERE {shown}")  # noqa: S608
    store.execute(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY" if store.shared else "PRAGMA query_only = ON"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _token(row: dict[str, object]) -> Token:
    people, projects = (tuple(json.loads(str(row[key]))) for key in ("people", "projects"))
    created = datetime.fromisoformat(str(row["created_utc"]))
    return Token(str(row["name"]), people, projects, bool(row["everything"]), created)
