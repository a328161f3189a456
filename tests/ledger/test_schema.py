"""The schema: what SQLAlchemy says, what the script creates and what the migrations lead to are one thing."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from joulewise.ledger import jobs, leases, migrate, pots, savings, summary
from joulewise.ledger.schema import metadata, sqlite_script
from joulewise.ledger.store import (
    BODY_TABLES,
    INDEX_TABLES,
    PRIMARY_TABLES,
    SCHEMA,
    memory_connection,
    open_store,
)


def layout(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the definition of every table and index, without the layout of its text."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    flat = {
        name: re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")").strip() for name, sql in rows
    }
    return {n: re.sub(r"CONSTRAINT joulewise_schema_pkc ", "", sql) for n, sql in flat.items()}


def test_script_is_generated():
    """`schema.sql` is what schema.py generates; if this fails, run `python -m joulewise.ledger.schema`."""
    assert files("joulewise.ledger").joinpath("schema.sql").read_text("utf-8") == sqlite_script()


def test_migrations_lead_to_it(tmp_path):
    """An SQLite ledger made by the migrations alone is the ledger that the script makes."""
    connection = sqlite3.connect(tmp_path / "migrated.db", isolation_level=None)
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=NullPool)
    with engine.connect() as through:
        through.exec_driver_sql("BEGIN IMMEDIATE")
        migrate.upgrade(through, "here")
        through.exec_driver_sql("COMMIT")
        migrated = layout(connection)
        version = connection.execute("SELECT version_num FROM joulewise_schema").fetchall()
    scripted = memory_connection()

    assert migrated == layout(scripted)
    assert version == scripted.execute("SELECT version_num FROM joulewise_schema").fetchall() == [(SCHEMA,)]
    scripted.close()
    connection.close()


def test_newest_is_known():
    """The version that the code asks for is the newest migration."""
    assert migrate.newest() == SCHEMA


def test_every_table_has_its_kind():
    """Every table is a view of the recordings, primary, or the recordings themselves, and none is two of them."""
    assert {*INDEX_TABLES, *PRIMARY_TABLES, *BODY_TABLES, "joulewise_schema"} == set(metadata.tables)
    assert not set(INDEX_TABLES) & set(PRIMARY_TABLES)
    assert not set(BODY_TABLES) & {*INDEX_TABLES, *PRIMARY_TABLES}


def test_columns_are_written():
    """The statements of the index, the pots, the savings and the queue name exactly the columns of their tables."""
    assert set(summary.COLUMNS) == set(metadata.tables["recordings"].columns.keys())
    assert set(pots._COLUMNS) == set(metadata.tables["pot_spending"].columns.keys())
    assert set(savings._COLUMNS) == set(metadata.tables["savings"].columns.keys())
    assert set(jobs._LINE) == set(metadata.tables["jobs"].columns.keys())
    assert set(jobs._PAPERS) == set(metadata.tables["job_papers"].columns.keys())
    assert set(leases._LEASE) == set(metadata.tables["leases"].columns.keys())
    assert set(leases._WORKER) == set(metadata.tables["workers"].columns.keys())
    assert set(leases._ATTEMPT) == set(metadata.tables["job_attempts"].columns.keys())


@pytest.mark.service
def test_postgres_has_it(postgres_url):
    """On PostgreSQL the migrations lead to the schema, too."""
    open_store(postgres_url).close()
    engine = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": "other"}
        )
        assert compare_metadata(context, metadata) == []
