"""Real servers for tests: started once for a session, on loopback, gone afterwards; skipped where none is installed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from joulewise.testing.postgres import postgres_binaries, private_postgres
from joulewise.testing.redis import private_redis, redis_binary

_numbers = itertools.count(1)


def missing(reason: str) -> None:
    """Skip a test whose service is not installed; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI that is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Return the URL of a private PostgreSQL."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        missing("psycopg is not installed (pip install 'joulewise[postgres]')")
    if postgres_binaries() is None:
        missing("no PostgreSQL server is installed (sh scripts/services.sh installs it on Debian)")
    with private_postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Return the URL of a fresh database in it."""
    import psycopg

    name = f"test{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.removesuffix("/postgres") + f"/{name}"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Return the URL of a private Redis."""
    try:
        import redis  # noqa: F401
    except ImportError:
        missing("redis is not installed (pip install 'joulewise[redis]')")
    if redis_binary() is None:
        missing("no Redis server is installed (sh scripts/services.sh installs it on Debian)")
    with private_redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Return the URL of an empty Redis."""
    import redis

    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server
