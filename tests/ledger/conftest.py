"""Fixtures of the ledger's tests: a PostgreSQL of our own, and a fresh database in it for every test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from joulewise.testing.postgres import postgres_binaries, private_postgres

_numbers = itertools.count(1)


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI that is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Return the URL of a private PostgreSQL; skip where none is installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        _missing("psycopg is not installed (pip install 'joulewise[postgres]')")
    if postgres_binaries() is None:
        _missing("no PostgreSQL server is installed (sh scripts/services.sh installs it on Debian)")
    with private_postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Return the URL of a fresh database."""
    import psycopg

    name = f"test{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.removesuffix("/postgres") + f"/{name}"
