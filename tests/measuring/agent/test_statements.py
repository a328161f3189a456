"""Which SELECTs a program runs: seen through its drivers, without their values, and with nothing changed for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from joulewise.measuring.agent.inside.statements import without_values
from tests.measuring.agent.running import alone, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the agent is tested on Linux")

SQLITE = """
import http.server, sqlite3, threading
connection = sqlite3.connect("shop.db", check_same_thread=False)
assert isinstance(connection, sqlite3.Connection) and type(connection).__name__ == "Connection"
connection.execute("CREATE TABLE ev (ent INTEGER, amt REAL)")
connection.executemany("INSERT INTO ev VALUES (?, ?)", [(n % 100, n / 7) for n in range(20000)])
def ask():
    for n in range(60):
        connection.cursor().execute("SELECT sum(amt), 'secret' FROM ev WHERE ent = ?", (n % 40,)).fetchone()
worker = threading.Thread(target=ask)
worker.start(); worker.join()
print(len(connection.execute("SELECT amt FROM ev WHERE ent = 7 AND amt > 3.5").fetchall()))
print(connection.execute("WITH big AS (SELECT * FROM ev) SELECT count(*) FROM big").fetchone())
class Own(sqlite3.Connection): pass
own = sqlite3.connect(":memory:", factory=Own)
print(type(own).__name__, own.execute("SELECT 5").fetchone())
try: connection.execute("SELECT nothing FROM nowhere")
except sqlite3.OperationalError as error: print(error)
connection.row_factory = sqlite3.Row
print(tuple(connection.execute("SELECT 1 AS a").fetchone()), [tuple(r) for r in connection.execute("SELECT 2")])
with connection: connection.execute("DELETE FROM ev")
"""


def test_sqlite(tmp_path: Path):
    """Text without values, calls, different parameters, seconds; the program prints what it prints alone."""
    ran = run(SQLITE, tmp_path)
    (tmp_path / "shop.db").unlink()
    seen = {s.sql: s for s in ran.view.statements}
    asked = seen["SELECT sum(amt), ? FROM ev WHERE ent = ?"]

    assert (ran.code, ran.out, ran.err) == (0, alone(SQLITE, tmp_path).stdout, "")
    assert (asked.calls, asked.different) == (60, 40)
    assert 0 < asked.cpu_s <= asked.wall_s * 1.5
    assert seen["SELECT amt FROM ev WHERE ent = ? AND amt > ?"].calls == 1
    assert "WITH big AS (SELECT * FROM ev) SELECT count(*) FROM big" in seen
    assert not any("INSERT" in sql or "secret" in sql for sql in seen)
    assert ran.view.server == "http.server"


def test_duckdb(tmp_path: Path):
    """DuckDB's statements are seen, on its connections and their cursors."""
    pytest.importorskip("duckdb")
    code = (
        "import duckdb\nc = duckdb.connect()\n"
        "for n in range(25): print(c.cursor().execute('SELECT sum(i) FROM range(100000) t(i) WHERE i > $n', {'n': n}).fetchone())"
    )
    ran = run(code, tmp_path)

    assert ran.out == alone(code, tmp_path).stdout
    assert [(s.sql, s.calls, s.different) for s in ran.view.statements] == [
        ("SELECT sum(i) FROM range(?) t(i) WHERE i > $n", 25, 25)
    ]
    assert ran.view.statements[0].cpu_s > 0
    assert ran.view.server == ""


@pytest.mark.service
def test_psycopg(tmp_path: Path):
    """What is asked of a PostgreSQL is seen, by its cursors and its connections."""
    pytest.importorskip("psycopg")
    from joulewise.testing.postgres import postgres_binaries, private_postgres

    if postgres_binaries() is None:
        pytest.skip("no PostgreSQL server is installed (sh scripts/services.sh installs it on Debian)")
    with private_postgres() as url:
        ran = run(
            f"import psycopg\nwith psycopg.connect({url!r}) as c:\n"
            "  for n in range(3): print(c.execute('SELECT count(*) FROM pg_class WHERE oid > %s', (n % 2,)).fetchone()[0] > 5)",
            tmp_path,
        )

    assert ran.out == "True\n" * 3
    assert [(s.sql, s.calls, s.different) for s in ran.view.statements] == [
        ("SELECT count(*) FROM pg_class WHERE oid > %s", 3, 2)
    ]


def test_a_served_join_is_diagnosed(tmp_path: Path):
    """A server that aggregates in each request is told so by `diagnose`, from its recording alone."""
    from joulewise.catalogue.place import place
    from joulewise.diagnosing import diagnose
    from joulewise.measuring.accounting import account

    code = SQLITE.split("def ask", maxsplit=1)[0] + (
        "for n in range(400): connection.execute('SELECT ent, sum(amt * amt) OVER () FROM ev WHERE ent <> ?', (n % 9,)).fetchall()"
    )
    ran = run(code, tmp_path)
    found = diagnose(ran.recording, ran.views, account(ran.recording, place(zone="DE")))

    assert [f.cause.value for f in found] == ["request_time_join"]
    assert "OVER" in found[0].evidence
    assert found[0].saving.cpu_share > 0.5


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT 'it''s', 5.5e3 FROM t2\n WHERE  a1 = 17", "SELECT ?, ? FROM t2 WHERE a1 = ?"),
        ('SELECT $1, ?2, :a3 FROM "t 4"', 'SELECT $1, ?2, :a3 FROM "t 4"'),
        ("SELECT 'never closed", "SELECT ?"),
        ("", ""),
    ],
)
def test_without_values(sql: str, text: str):
    """Literals go, names and parameters stay."""
    assert without_values(sql) == text
