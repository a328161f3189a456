"""A copy of the ledger in one SQLite file, taken while others may write.

It holds the primary tables (pots), which are known nowhere else, and the index beside them. The copy is a ledger
itself: `JOULEWISE_LEDGER=COPY joulewise runs` reads it; pushed recordings are copied too. A team's ledger on PostgreSQL is copied the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joulewise.ledger.store import (
    BODY_TABLES,
    INDEX_TABLES,
    PRIMARY_TABLES,
    SqliteStore,
    Store,
    insert,
    open_store,
)
from joulewise.vocabulary.errors import LedgerError, UsageError


def backup(store: Store, target: Path) -> Path:
    """Copy the ledger to the new file `target` and return it; UsageError if something is there already."""
    if target.exists():
        raise UsageError(f"{target} exists already; name a new file for the copy")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if isinstance(store, SqliteStore):
            store.copy_to(target)
        else:
            _copy_tables(store, target)
    except OSError as error:
        raise LedgerError(f"cannot write the copy {target}: {error.strerror}") from None
    return target


def _copy_tables(store: Store, target: Path) -> None:
    fresh = target.with_name(f".{target.name}.part")
    tables = (*PRIMARY_TABLES, *INDEX_TABLES)
    with store.transaction():  # last table first: whatever a row refers to is read after it
        rows = {t: store.query(f"SELECT * FROM {t}") for t in reversed(tables)}  # noqa: S608 - names of ours
    fresh.unlink(missing_ok=True)
    copy = open_store(fresh)
    try:
        with copy.transaction():
            for table in tables:
                if rows[table]:
                    copy.execute(insert(table, list(rows[table][0])), *rows[table])
        for run in store.query("SELECT DISTINCT run_id FROM bodies ORDER BY run_id"):
            _copy_body(store, copy, run)
    finally:
        copy.close()
    fresh.replace(target)


def _copy_body(store: Store, copy: Store, run: Mapping[str, Any]) -> None:
    """Copy one recording's body: all of them together may be larger than memory."""
    with store.transaction():
        found = {t: store.query(f"SELECT * FROM {t} WHERE run_id = :run_id", run) for t in BODY_TABLES}  # noqa: S608
    with copy.transaction():
        for table, rows in found.items():
            if rows:
                copy.execute(insert(table, list(rows[0])), *rows)
