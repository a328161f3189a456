"""Counting the statements of a served model."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from joulewise.features.counting import Counting
from joulewise.features.hygiene import request_joins

JOIN = "SELECT sum(v) FROM events WHERE user = ?"
ROW = "SELECT v FROM events WHERE rowid = ?"


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:")) as plain:
        plain.execute("CREATE TABLE events (user INTEGER, v REAL)")
        plain.executemany("INSERT INTO events VALUES (?, ?)", [(n % 7, n) for n in range(20_000)])
        yield Counting(plain)


def test_counts(connection):
    """Statements are counted by their text, answers are the connection's own; cursors count, too."""
    assert connection.execute(ROW, (1,)).fetchone() == (0.0,)
    cursor = connection.cursor()
    cursor.execute(ROW, (2,))
    assert list(cursor) == [(1.0,)]
    assert connection.total_changes == 20_000

    assert [(q.sql, q.calls) for q in connection.queries()] == [(ROW, 2)]


def test_finds_the_join(connection):
    """What joins in the requests is found with its CPU seconds; reads of a row are not."""
    for user in range(5):
        connection.execute(JOIN, (user,)).fetchone()
        connection.execute(ROW, (user,)).fetchone()
    (found,) = request_joins(connection.queries())

    assert (found.sql, found.calls, found.what) == (JOIN, 5, "SUM")
    assert found.cpu_s > 0


def test_fault_passes(connection):
    """A statement that fails raises what it always did, and is counted."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        connection.execute("SELECT * FROM nowhere")
    assert [q.calls for q in connection.queries()] == [1]


def test_transaction(connection):
    """As a context it is the connection's own: an exception undoes."""

    def fail():
        with connection:
            connection.executemany("INSERT INTO events VALUES (?, ?)", [(99, 1.0)] * 3)
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert connection.execute("SELECT count(*) FROM events WHERE user = 99").fetchone() == (0,)


def test_bounded(connection):
    """Values written into the text do not fill the memory."""
    for number in range(1100):
        connection.execute(f"SELECT {number}")
    assert len(connection.queries()) == 1000
