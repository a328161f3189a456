"""The store: where the index and the pots are kept. SQLite on one host, PostgreSQL for a team; one SQL text for both.

Statements name their parameters (`:name`) and keep to what both databases understand: `INSERT ... ON CONFLICT`,
text as ISO times and JSON, no type of one side only. SQLite is spoken to through the standard library, so that
recording and listing import nothing else; `server.py` speaks to PostgreSQL.

What the disk does to us: SQLite's write-ahead log needs memory that all its processes share, so on a network file
system the ledger of one user falls back to the slower rollback journal, and a ledger that several hosts are to
share is refused there. A fresh ledger is built beside its place and renamed into it: nobody ever sees half of one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, final

from joulewise.vocabulary.errors import LedgerAway, LedgerError

SCHEMA = "0007"  # the newest migration; `schema.sql` creates a ledger that stands there
INDEX_TABLES = (
    "recordings",
    "minutes",
    "months",
    "wastes",
    "shards",
    "damaged",
    "unsent",
)  # a view of the recordings: may be dropped and rebuilt
PRIMARY_TABLES = (  # known nowhere else: never dropped
    "pots",
    "pot_spending",
    "savings",
    "jobs",
    "job_papers",
    "job_attempts",
    "job_decisions",
    "leases",
    "workers",
    "searches",
    "search_lines",
    "tokens",
)
BODY_TABLES = ("bodies", "body_parts")  # the recordings themselves: never dropped, and too large for a copy

_MAGIC = b"SQLite format 3\x00"
_WAIT_S = 30.0
_NETWORK = frozenset(
    [
        "nfs",
        "nfs4",
        "lustre",
        "beegfs",
        "cifs",
        "smb3",
        "smbfs",
        "gpfs",
        "ceph",
        "glusterfs",
        "afs",
        "pvfs2",
        "orangefs",
        "panfs",
        "wekafs",
        "ocfs2",
        "gfs2",
        "fuse.sshfs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.beegfs",
        "davfs",
        "fuse.davfs2",
    ]
)
_REMEDY = (
    "move it away (the next command builds the index again from the recordings; what pots had spent is only in "
    "a backup) or name another with JOULEWISE_LEDGER"
)


class Store(Protocol):
    """A database that the ledger lives in. One store belongs to one thread; open one per thread or process."""

    @property
    def where(self) -> str:
        """How messages name it: the file, or the URL without its password."""

    @property
    def shared(self) -> bool:
        """Whether other hosts may write to it too."""

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries by column name."""

    def execute(self, sql: str, *rows: Mapping[str, Any]) -> int:
        """Run a statement once, or once for each mapping in `rows`; return how many rows it touched."""

    def transaction(self) -> Any:
        """Return a context in which all statements hold or none; inside another one it joins that one."""

    def close(self) -> None:
        """Give back the connection; closing twice is fine."""


def open_store(place: str | Path, *, shared: bool = False, wait_s: float = _WAIT_S) -> Store:
    """Return the ledger at `place` (a path, or `postgresql://user@host/database`), created or upgraded as needed.

    `shared=True` says that several hosts are to write to it: SQLite on a network file system is then refused.
    `wait_s` is how long a statement waits for another writer. Raises LedgerError in one line: foreign, damaged,
    newer than this joulewise, or out of reach.
    """
    text = str(place)
    if is_server(text):
        from joulewise.ledger.server import open_server

        return open_server(text, wait_s)
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    elif "://" in text:
        scheme = text.split("://", 1)[0]
        raise LedgerError(
            f"the ledger is at {scheme}://..., but joulewise knows a path (SQLite) or postgresql://; set ledger to one of them"
        )
    path = Path(text).expanduser().absolute()
    network = network_file_system(path)
    if shared and network:
        raise LedgerError(
            f"{path} is on a network file system ({network}), where several hosts would damage one SQLite file; name a "
            'server in the settings file: ledger = "postgresql://USER@HOST/joulewise"'
        )
    return _open_file(path, wait_s, journal="delete" if network else "wal")


def is_server(place: str) -> bool:
    """Whether a ledger's place is a server that several hosts share."""
    return place.startswith(("postgresql:", "postgres:", "postgresql+psycopg:"))


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the network file system that holds `path` ("nfs4"), or "" if its disk is local or unknown."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    place = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the earlier one
            best, kind = point, name
    return kind if kind in _NETWORK else ""


@final
class SqliteStore:
    """A ledger in one SQLite file, or in memory."""

    shared = False

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self.where = where
        self._connection = connection
        self._within = False
        connection.isolation_level = None  # transactions are ours to begin
        connection.execute("PRAGMA foreign_keys = ON")

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries by column name."""
        with self._plainly():
            cursor = self._connection.execute(sql, values or {})
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def execute(self, sql: str, *rows: Mapping[str, Any]) -> int:
        """Run a statement once, or once for each mapping in `rows`; return how many rows it touched."""
        with self._plainly():
            if len(rows) <= 1:
                return self._connection.execute(sql, rows[0] if rows else {}).rowcount
            with self.transaction():
                return self._connection.executemany(sql, rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Return a context in which all statements hold or none; inside another one it joins that one."""
        if self._within:
            yield
            return
        with self._plainly():
            self._connection.execute(
                "BEGIN IMMEDIATE"
            )  # the writer's place at once: no deadlock on the way there
        self._within = True
        try:
            yield
        except BaseException:
            self._within = False
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._within = False
        with self._plainly():
            self._connection.execute("COMMIT")

    def copy_to(self, path: Path) -> None:
        """Copy the whole ledger to a new file, while others may write to it."""
        with self._plainly():
            copy(self._connection, path)

    def close(self) -> None:
        """Give back the connection; closing twice is fine."""
        self._connection.close()

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn what SQLite raises about the file into one line."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _explained(error, self.where) from None


def memory_connection() -> sqlite3.Connection:
    """Return a fresh ledger that lives as long as its connection."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _create(connection)
    return connection


def _open_file(path: Path, wait_s: float, journal: str) -> SqliteStore:
    try:
        if not path.exists() or path.stat().st_size == 0:
            _create_file(path, journal)
        with open(path, "rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise LedgerError(f"{path} is not a joulewise ledger (no SQLite file); {_REMEDY}")
    except OSError as error:
        raise LedgerError(
            f"cannot open the ledger {path}: {error.strerror}; set ledger (or JOULEWISE_LEDGER) to a place that you can write"
        ) from None
    store = SqliteStore(_connect(path, wait_s), str(path))
    try:
        version = _version(store)
        if version != SCHEMA:
            store.close()
            refuse_newer(version, str(path))
            from joulewise.ledger.migrate import upgrade_file

            with _alone(path.parent):
                upgrade_file(path)
            store = SqliteStore(_connect(path, wait_s), str(path))
    except LedgerError:
        store.close()
        raise
    return store


def refuse_newer(version: str, where: str) -> None:
    """Raise LedgerError if a ledger at `version` is newer than this joulewise, or not a version of ours at all."""
    if not version.isdigit():
        raise LedgerError(f"{where} is not a joulewise ledger (its schema is {version!r}); {_REMEDY}")
    if int(version) > int(SCHEMA):
        raise LedgerError(
            f"the ledger {where} has schema {version}, but this joulewise knows up to {SCHEMA}; upgrade joulewise, or name "
            "another ledger with JOULEWISE_LEDGER"
        )


def _version(store: SqliteStore) -> str:
    if not store.query("SELECT name FROM sqlite_master WHERE name = 'joulewise_schema'"):
        raise LedgerError(
            f"{store.where} is not a joulewise ledger (an SQLite file of another program); name another with JOULEWISE_LEDGER"
        )
    rows = store.query("SELECT version_num FROM joulewise_schema")
    return str(rows[0]["version_num"]) if rows else ""


def _connect(path: Path, wait_s: float) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as error:
        if connection is not None:
            connection.close()
        raise _explained(error, str(path)) from None
    return connection


def _create_file(path: Path, journal: str) -> None:
    """Build a fresh ledger beside `path` and rename it there, unless another process was first."""
    os.makedirs(path.parent, mode=0o700, exist_ok=True)
    with _alone(path.parent):
        if path.exists() and path.stat().st_size > 0:
            return
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            connection = sqlite3.connect(fresh, isolation_level=None)
            try:
                connection.execute(f"PRAGMA journal_mode = {journal}")
                _create(connection)
            finally:
                connection.close()
            for leftover in ("-wal", "-shm", "-journal"):  # of a ledger that was deleted without them
                path.with_name(path.name + leftover).unlink(missing_ok=True)
            os.replace(fresh, path)
        except sqlite3.DatabaseError as error:
            raise _explained(error, str(path)) from None
        finally:
            fresh.unlink(missing_ok=True)


def _create(connection: sqlite3.Connection) -> None:
    script = files("joulewise.ledger").joinpath("schema.sql").read_text("utf-8")
    connection.execute("BEGIN IMMEDIATE")
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute("COMMIT")


def copy(source: sqlite3.Connection, path: Path) -> None:
    """Copy a database to a new private file; a file that exists is replaced."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        target = sqlite3.connect(fresh)
        try:
            source.backup(target)
        finally:
            target.close()
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time create or upgrade a ledger in `folder`, where its file system can lock one."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _explained(error: sqlite3.Error, where: str) -> LedgerError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return LedgerAway(
            f"the ledger {where} is busy: another process has been writing to it for long; try again"
        )
    if isinstance(
        error,
        sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError,
    ):
        return LedgerError(f"cannot use the ledger {where}: {text}")
    return LedgerError(f"the ledger {where} is damaged ({text}); {_REMEDY}")


def insert(table: str, columns: Sequence[str]) -> str:
    """Return the statement that writes one new row of `table`."""
    values = ", ".join(":" + c for c in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - names of ours


def upsert(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    """Return the statement that writes one row of `table`, replacing the row with the same `key`."""
    update = ", ".join(f"{c} = excluded.{c}" for c in columns if c not in key)
    return f"{insert(table, columns)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {update}"
