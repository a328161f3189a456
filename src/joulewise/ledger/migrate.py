"""Upgrading a ledger: by itself, when an older one is opened, after a copy was kept.

A file is copied to `ledger.db.before-0004` first; on a server the primary tables are copied to tables of that name
in the same transaction (`pots_before_0004`). All steps run in one transaction: an upgrade that fails, or is killed,
leaves the old ledger as it was. A newer ledger is refused (`store.refuse_newer`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from joulewise.ledger import store
from joulewise.vocabulary.errors import LedgerError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

VERSIONS = (Path(__file__).with_name("migrations") / "versions",)


def upgrade_file(path: Path) -> Path:
    """Upgrade the SQLite ledger at `path` and return the copy that was kept of it; one process at a time."""
    kept = path.with_name(f"{path.name}.before-{store.SCHEMA}")
    with _connected(path) as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if _version(connection) == store.SCHEMA:  # another process was first
            return kept
        with closing(sqlite3.connect(path)) as source:
            store.copy(source, kept)
        upgrade(connection, str(path))
        connection.exec_driver_sql("COMMIT")
    return kept


def upgrade(connection: Connection, where: str) -> None:
    """Bring the ledger behind `connection` to the newest schema, inside the caller's transaction."""
    from alembic import command
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        command.upgrade(_config(connection), store.SCHEMA)
    except (CommandError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise LedgerError(
            f"cannot upgrade the ledger {where} to schema {store.SCHEMA}: {reason}; it was left as it was"
        ) from None


def newest() -> str:
    """Return the newest version that a migration leads to."""
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(_config(None)).get_current_head())


def _config(connection: Connection | None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(v).replace("%", "%%") for v in VERSIONS))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connected(path: Path) -> Iterator[Connection]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DatabaseError
    from sqlalchemy.pool import NullPool

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, timeout=30)

    try:
        with create_engine("sqlite://", creator=connect, poolclass=NullPool).connect() as connection:
            yield connection
    except DatabaseError as error:
        raise LedgerError(f"cannot upgrade the ledger {path}: {error.orig}; it was left as it was") from None


def _version(connection: Connection) -> str:
    return str(connection.exec_driver_sql("SELECT version_num FROM joulewise_schema").scalar())
