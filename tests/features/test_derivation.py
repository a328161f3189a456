"""Fingerprints of how columns are computed: the loose ones, for whoever they are asked (the strict: test_materialising)."""

from __future__ import annotations

import pytest

duckdb = pytest.importorskip("duckdb")

from joulewise.features.derivation import aggregates  # noqa: E402


@pytest.fixture
def prints():
    with duckdb.connect() as connection:
        yield lambda sql: list(aggregates(connection, sql).values())


ONE = "SELECT sum(amount) AS s FROM events GROUP BY user"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT SUM( e.amount ) FROM Events e WHERE e.user = ?",
        "select sum(amount) over (partition by user order by ts) from events",
        "SELECT sum(amount) AS total FROM events WHERE user = %s",
        "SELECT sum(amount) FROM events WHERE user = :user AND day > $since",
    ],
)
def test_the_same(prints, sql):
    """For one entity or for all, as aggregate or window, in the way of each driver: the same derivation."""
    assert prints(sql) == prints(ONE)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sum(amount) FROM orders WHERE user = ?",
        "SELECT avg(amount) FROM events WHERE user = ?",
        "SELECT sum(DISTINCT amount) FROM events WHERE user = ?",
        "SELECT sum(amount) FILTER (kind = 'a') FROM events WHERE user = ?",
        "SELECT sum(amount) / count(*) FROM events WHERE user = ?",
        "SELECT sum(amount) FROM events JOIN users USING (user) WHERE user = ?",
    ],
)
def test_another(prints, sql):
    """Another table, function, filter or join is another derivation."""
    assert prints(sql) not in ([], prints(ONE))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT row FROM online WHERE key = ?",
        "SELECT lower(name) FROM users",
        "not SQL",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_none(prints, sql):
    """What aggregates nothing, or cannot be read, has no fingerprint."""
    assert prints(sql) == []
