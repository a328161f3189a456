"""Fixtures of the features' tests: files of events, a Redis and a PostgreSQL of our own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from joulewise.testing.postgres import postgres_binaries, private_postgres
from joulewise.testing.redis import private_redis, redis_binary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI that is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[[str, str], str]:
    """Return a function that writes the rows of a SELECT to a Parquet file and gives its path."""

    def write(name: str, select: str) -> str:
        duckdb = pytest.importorskip("duckdb")
        path = tmp_path / f"{name}.parquet"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        return str(path)

    return write


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Return the URL of a private Redis; skip where none is installed."""
    try:
        import redis  # noqa: F401
    except ImportError:
        _missing("redis is not installed (pip install 'joulewise[redis]')")
    if redis_binary() is None:
        _missing("no Redis server is installed (sh scripts/services.sh installs it on Debian)")
    with private_redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Return the URL of an empty Redis."""
    import redis

    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Return the URL of a private PostgreSQL; skip where none is installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        _missing("psycopg is not installed (pip install 'joulewise[postgres]')")
    if postgres_binaries() is None:
        _missing("no PostgreSQL server is installed (sh scripts/services.sh installs it on Debian)")
    with private_postgres() as url:
        yield url
