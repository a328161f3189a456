"""The team's ledger on PostgreSQL, through SQLAlchemy and psycopg (the extra `postgres`).

It speaks the same SQL text as the file. A lost connection costs the statement that met it; the next one connects
again. Neither a server that went away nor another's lock holds a statement for longer than `wait_s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, final

from joulewise.ledger.store import PRIMARY_TABLES, SCHEMA, refuse_newer
from joulewise.vocabulary.errors import LedgerAway, LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CREATION = 0x4A4F554C  # the advisory lock under which one process creates or upgrades


def open_server(url: str, wait_s: float) -> ServerStore:
    """Return the ledger in the PostgreSQL database at `url`, created or upgraded as needed."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        where = parsed.set(drivername="postgresql").render_as_string(hide_password=True)
        limits = {"connect_timeout": max(2, int(wait_s)), "tcp_user_timeout": int(wait_s * 1000)}
        limits |= {
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }  # a host that vanished
        engine = create_engine(parsed, poolclass=NullPool, connect_args={**limits, **parsed.query})
    except (ArgumentError, ValueError) as error:
        raise LedgerError(
            f"cannot read the ledger's URL: {error}; write postgresql://USER@HOST/DATABASE"
        ) from None
    except ModuleNotFoundError:
        raise LedgerError("a ledger on PostgreSQL needs psycopg: pip install 'joulewise[postgres]'") from None
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        raise _explained(error, where) from None
    store = ServerStore(connection, where, wait_s)
    try:
        store.prepare()
    except LedgerError:
        store.close()
        raise
    return store


@final
class ServerStore:
    """A ledger in one PostgreSQL database."""

    shared = True

    def __init__(self, connection: Connection, where: str, wait_s: float) -> None:
        self.where = where
        self._connection = connection
        self._lock_timeout = f"SET LOCAL lock_timeout = {int(wait_s * 1000)}"
        self._within = False

    def prepare(self) -> None:
        """Create the tables, or upgrade them; one process at a time."""
        from joulewise.ledger.migrate import upgrade

        if self._version() == SCHEMA:
            return
        with self.transaction():
            self._connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATION})")
            version = self._version()
            if version == SCHEMA:
                return
            if version:
                refuse_newer(version, self.where)
                for table in self._existing(PRIMARY_TABLES):
                    self.execute(f"CREATE TABLE {table}_before_{SCHEMA} AS TABLE {table}")
            else:
                self._refuse_foreign()
            with self._plainly():
                upgrade(self._connection, self.where)

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries by column name."""
        from sqlalchemy import text

        with self._plainly(), self._scope():
            return [dict(row) for row in self._connection.execute(text(sql), dict(values or {})).mappings()]

    def execute(self, sql: str, *rows: Mapping[str, Any]) -> int:
        """Run a statement once, or once for each mapping in `rows`; return how many rows it touched."""
        from sqlalchemy import text

        with self._plainly(), self._scope():
            given = [dict(row) for row in rows]
            return int(self._connection.execute(text(sql), given or None).rowcount)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Return a context in which all statements hold or none; inside another one it joins that one."""
        with self._plainly(), self._scope():
            yield

    def close(self) -> None:
        """Give back the connection; closing twice is fine."""
        self._connection.close()

    def _scope(self) -> Any:
        return nullcontext() if self._within else self._begun()

    @contextmanager
    def _begun(self) -> Iterator[None]:
        with self._connection.begin():
            self._within = True
            try:
                self._connection.exec_driver_sql(self._lock_timeout)
                yield
            finally:
                self._within = False

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn what the server or the way to it raises into one line."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except SQLAlchemyError as error:
            raise _explained(error, self.where) from None

    def _version(self) -> str:
        if not self.query("SELECT 1 FROM pg_class WHERE oid = to_regclass('joulewise_schema')"):
            return ""
        rows = self.query("SELECT version_num FROM joulewise_schema")
        return str(rows[0]["version_num"]) if rows else ""

    def _existing(self, tables: Iterable[str]) -> list[str]:
        """Return those of `tables` that an older ledger has already."""
        found = "SELECT 1 FROM pg_class WHERE oid = to_regclass(:name)"
        return [table for table in tables if self.query(found, {"name": table})]

    def _refuse_foreign(self) -> None:
        for table in ("recordings", "pots"):
            if self.query("SELECT 1 FROM pg_class WHERE oid = to_regclass(:name)", {"name": table}):
                raise LedgerError(
                    f"{self.where} holds another program's table {table!r}; give joulewise a database of its own: "
                    "createdb joulewise"
                )


def _explained(error: Exception, where: str) -> LedgerError:
    from sqlalchemy.exc import InterfaceError, OperationalError

    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    reason = lines[0] if lines else type(cause).__name__
    if "lock timeout" in reason:
        return LedgerAway(
            f"the ledger {where} is busy: another process has been writing to it for long; try again"
        )
    away = isinstance(error, InterfaceError | OperationalError) or getattr(
        error, "connection_invalidated", False
    )
    return (LedgerAway if away else LedgerError)(f"cannot use the ledger {where}: {reason}")
