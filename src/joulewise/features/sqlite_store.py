"""The online store in one SQLite file: the default, for one host.

A table for each view, the key as its primary key, the packed row beside it. A materialisation is one transaction, so a
reader sees all of it or nothing, and after `kill -9` the file is as before. Readers map the file into memory and never
wait for the writer (write-ahead log).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import final

from joulewise.features.online import ReadTally, ViewState, Writer
from joulewise.features.rows import Key
from joulewise.ledger.store import network_file_system
from joulewise.vocabulary.errors import FeatureError, UsageError

_WAIT_S = 300.0
_MAPPED_BYTES = 1 << 30
_SCHEMA = """
CREATE TABLE IF NOT EXISTS joulewise_views (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS joulewise_reads (
    view TEXT NOT NULL, reader TEXT NOT NULL, reads INTEGER NOT NULL, missing INTEGER NOT NULL, stale INTEGER NOT NULL,
    age_sum_s REAL NOT NULL, tolerates_s REAL NOT NULL, first_utc TEXT NOT NULL, last_utc TEXT NOT NULL,
    PRIMARY KEY (view, reader)) WITHOUT ROWID;
"""
_TALLY = """
INSERT INTO joulewise_reads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (view, reader) DO UPDATE SET
    reads = reads + excluded.reads, missing = missing + excluded.missing, stale = stale + excluded.stale,
    age_sum_s = age_sum_s + excluded.age_sum_s, tolerates_s = excluded.tolerates_s, last_utc = excluded.last_utc
"""


@final
class SqliteOnline:
    """The online store in the SQLite file `place`."""

    def __init__(self, place: str) -> None:
        path = Path(place.removeprefix("sqlite:///")).expanduser().absolute()
        if "://" in place and not place.startswith("sqlite:///"):
            raise UsageError(f"the online store is at {place!r}, but must be a path or redis://host:port")
        self.where = str(path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise FeatureError(
                f"cannot open the online store {path}: {error.strerror}; name another place"
            ) from None
        self._connection = sqlite3.connect(
            path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        with self._plainly():
            if not self._connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'joulewise_views'"
            ).fetchone():
                mode = "delete" if network_file_system(path) else "wal"
                self._connection.execute(f"PRAGMA journal_mode = {mode}")
                self._connection.executescript(_SCHEMA)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")

    def states(self) -> dict[str, ViewState]:
        """Return what it holds, by the name of the view."""
        with self._plainly():
            rows = self._connection.execute(
                "SELECT name, state FROM joulewise_views ORDER BY name"
            ).fetchall()
        return {name: ViewState.from_json(state) for name, state in rows}

    @contextmanager
    def alone(self, view: str) -> Iterator[None]:
        """Return a context that one process at a time is in for a view; a killed one leaves it."""
        try:
            import fcntl
        except ImportError:  # Windows: the transaction alone keeps rows whole
            yield
            return
        descriptor = os.open(f"{self.where}.{view}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def writing(self, view: str, *, fresh: bool, whole_keys: bool) -> Iterator[Writer]:
        """Return a context to write a view in: all of it or nothing. `fresh` replaces all rows that are there."""
        with self._plainly():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            with self._plainly():
                if fresh:
                    kind = "INTEGER" if whole_keys else "TEXT"
                    tail = "" if whole_keys else "WITHOUT ROWID"
                    self._connection.execute(f"DROP TABLE IF EXISTS {_table(view)}")
                    self._connection.execute(
                        f"CREATE TABLE {_table(view)} (key {kind} PRIMARY KEY, at INTEGER NOT NULL, row BLOB NOT NULL) {tail}"
                    )
                yield _Writer(self._connection, view, fresh=fresh)
                self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def lookup(self, views: Sequence[str]) -> _Lookup:
        """Return how to get rows of these views."""
        return _Lookup(self._connection, views)

    def tally(self, tallies: Iterable[ReadTally]) -> bool:
        """Add to what is known of the readers; False if the store is busy just now and should be told again later."""
        rows = [
            (
                t.view,
                t.reader,
                t.reads,
                t.missing,
                t.stale,
                t.age_sum_s,
                t.tolerates_s,
                t.first_utc,
                t.last_utc,
            )
            for t in tallies
        ]
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_TALLY, rows)
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError:  # a materialisation is being written, or the disk is full
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            return False
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(_WAIT_S * 1000)}")
        return True

    def tallies(self) -> list[ReadTally]:
        """Return who reads what."""
        with self._plainly():
            return [
                ReadTally(*row)
                for row in self._connection.execute("SELECT * FROM joulewise_reads ORDER BY view, reader")
            ]

    def forget(self, view: str) -> None:
        """Delete a view's rows, state and tallies."""
        with self._plainly():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(f"DROP TABLE IF EXISTS {_table(view)}")
            self._connection.execute("DELETE FROM joulewise_views WHERE name = ?", (view,))
            self._connection.execute("DELETE FROM joulewise_reads WHERE view = ?", (view,))
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Give back the connection; closing twice is fine."""
        self._connection.close()

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text:
                text = "another process has been writing to it for long; try again"
            raise FeatureError(f"cannot use the online store {self.where}: {text}") from None


@final
class _Writer:
    def __init__(self, connection: sqlite3.Connection, view: str, *, fresh: bool) -> None:
        self._connection = connection
        self._view = view
        newer = (
            ""
            if fresh
            else " ON CONFLICT (key) DO UPDATE SET at = excluded.at, row = excluded.row "
            "WHERE excluded.at > at OR (excluded.at = at AND excluded.row <> row)"
        )
        self._insert = f"INSERT INTO {_table(view)} VALUES (?, ?, ?){newer}"

    def put(self, keys: Sequence[Key], at_us: Sequence[int], rows: Sequence[bytes]) -> int:
        return self._connection.executemany(self._insert, zip(keys, at_us, rows, strict=True)).rowcount

    def finish(self, state: ViewState) -> ViewState:
        row = self._connection.execute(f"SELECT count(*) FROM {_table(self._view)}").fetchone()
        state = replace(state, rows=row[0])
        self._connection.execute(
            "INSERT INTO joulewise_views VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state",
            (state.name, state.to_json()),
        )
        return state


@final
class _Lookup:
    def __init__(self, connection: sqlite3.Connection, views: Sequence[str]) -> None:
        self._views = tuple(views)
        self._connection = connection
        self._cursor = connection.cursor()
        tables = [_table(v) for v in views]
        self._one = "SELECT " + ", ".join(f"(SELECT row FROM {t} WHERE key = ?1)" for t in tables)
        self._many = [
            f"SELECT asked.key, (SELECT row FROM {t} WHERE key = CAST(asked.value AS TEXT)) FROM json_each(?) asked"
            for t in tables
        ]

    def one(self, key: Key) -> Sequence[bytes | None]:
        try:
            found: tuple[bytes | None, ...] = self._cursor.execute(self._one, (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise self._explained(error) from None
        return found

    def many(self, keys: Sequence[Key]) -> Sequence[Sequence[bytes | None]]:
        wanted = (json.dumps(keys),)
        try:
            rows: list[dict[int, bytes | None]] = [
                dict(self._cursor.execute(sql, wanted)) for sql in self._many
            ]
        except sqlite3.OperationalError as error:
            raise self._explained(error) from None
        return [[found[place] for place in range(len(keys))] for found in rows]

    def _explained(self, error: sqlite3.OperationalError) -> FeatureError:
        if "no such table" in str(error):
            view = str(error).rpartition("joulewise_view_")[2]
            return FeatureError(f"the view {view} was never materialised here; run: joulewise materialise")
        return FeatureError(f"cannot read the online store: {error}")


def _table(view: str) -> str:
    return f'"joulewise_view_{view}"'
