"""Upgrades: by themselves, after a copy, all or nothing."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys

import pytest

from joulewise.ledger import migrate, store
from joulewise.ledger.index import list_runs
from joulewise.ledger.pots import Pot, Spending
from joulewise.ledger.refreshing import refresh
from joulewise.ledger.store import open_store
from joulewise.testing.ledger_contract import summarise, write_recording
from joulewise.vocabulary.errors import LedgerError

NOW = store.SCHEMA
NEXT = f"{int(NOW) + 1:04d}"  # a version that is yet to come

SECOND = '''
"""The next version, for the test."""
import sqlalchemy as sa
from alembic import op

revision = "{next}"
down_revision = "{now}"

def upgrade():
    op.add_column("pots", sa.Column("colour", sa.Text(), nullable=False, server_default="blue"))
    op.create_table("colours", sa.Column("id", sa.Text(), primary_key=True))
    {more}
'''

LATER = (
    "savings",
    "job_decisions",
    "job_attempts",
    "job_papers",
    "leases",
    "workers",
    "jobs",
    "search_lines",
    "searches",
    "months",
    "wastes",
    "unsent",
    "bodies",
    "body_parts",
    "tokens",
)  # since the first schema
NO_JOBS = (  # before the sixth; the seventh's index that no dropped table takes along
    "DROP INDEX recordings_job",
    "ALTER TABLE recordings DROP COLUMN job",
    "DROP INDEX recordings_state",
)


@pytest.fixture
def second(tmp_path, monkeypatch):
    """Return a function that makes this joulewise one that knows the next schema."""

    def install(more: str = "") -> None:
        folder = tmp_path / "versions"
        folder.mkdir(exist_ok=True)
        (folder / "next.py").write_text(SECOND.format(more=more, now=NOW, next=NEXT))
        monkeypatch.setattr(migrate, "VERSIONS", (*migrate.VERSIONS[:1], folder))
        monkeypatch.setattr(store, "SCHEMA", NEXT)

    return install


def fill(place) -> None:
    ledger = open_store(place)
    pot = Pot(ledger, "sweep")
    pot.join({"energy_j": 5.0})
    pot.spend("a", Spending(energy_j=2.0))
    ledger.close()


BESIDE = (  # what the third schema's searches made beside it
    "CREATE TABLE studies (name TEXT PRIMARY KEY, lines BIGINT NOT NULL)",
    "CREATE TABLE study_lines (study TEXT NOT NULL, number BIGINT NOT NULL, line TEXT NOT NULL, PRIMARY KEY (study, number))",
    "INSERT INTO studies VALUES ('digits', 2), ('empty', 0)",
    """INSERT INTO study_lines VALUES ('digits', 1, '{"kind": "head"}'), ('digits', 2, '{"kind": "end"}')""",
)
FOREIGN = "CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name TEXT)"  # Optuna's


def third(place, *statements: str) -> None:
    """Make a ledger of the third schema, with tables beside it."""
    ledger = open_store(place)
    for statement in (*(f"DROP TABLE {table}" for table in LATER[-8:]), *NO_JOBS, *statements):
        ledger.execute(statement)
    ledger.execute("UPDATE joulewise_schema SET version_num = '0003'")
    ledger.close()


def check_searches_move(place) -> None:
    third(place, *BESIDE)
    ledger = open_store(place)
    lines = ledger.query("SELECT * FROM search_lines ORDER BY number")

    assert ledger.query("SELECT * FROM searches ORDER BY name") == [
        {"name": "digits", "lines": 2},
        {"name": "empty", "lines": 0},
    ]
    assert lines == [
        {"search": "digits", "number": 1, "line": '{"kind": "head"}'},
        {"search": "digits", "number": 2, "line": '{"kind": "end"}'},
    ]
    with pytest.raises(LedgerError):
        ledger.query("SELECT * FROM studies")
    ledger.close()


def check_foreign_studies(place) -> None:
    third(place, FOREIGN, "INSERT INTO studies VALUES (1, 'theirs')")
    ledger = open_store(place)

    assert ledger.query("SELECT * FROM studies") == [{"study_id": 1, "study_name": "theirs"}]
    assert ledger.query("SELECT * FROM searches") == []
    ledger.close()


class TestFromTheFirst:
    def test_file(self, tmp_path):
        """A ledger of the first schema gets all later tables, and keeps its pots."""
        path = tmp_path / "ledger.db"
        fill(path)
        with sqlite3.connect(path) as connection:
            for table in LATER:
                connection.execute(f"DROP TABLE {table}")
            for statement in NO_JOBS:
                connection.execute(statement)
            connection.execute("UPDATE joulewise_schema SET version_num = '0001'")
        connection.close()
        ledger = open_store(path)

        assert all(ledger.query(f"SELECT * FROM {table}") == [] for table in LATER)
        assert Pot(ledger, "sweep").spent().spent.energy_j == 2.0
        ledger.close()
        assert (tmp_path / f"ledger.db.before-{NOW}").exists()


class TestMonths:
    def check(self, place, tmp_path) -> None:
        """Make a ledger of the fourth schema that knows a recording, upgrade it, read the recording again."""
        runs = tmp_path / "runs"
        write_recording(runs)
        ledger = open_store(place)
        refresh(ledger, runs, summarise)
        for statement in (*(f"DROP TABLE {table}" for table in LATER[-6:]), *NO_JOBS):
            ledger.execute(statement)
        ledger.execute("UPDATE joulewise_schema SET version_num = '0004'")
        ledger.close()
        ledger = open_store(place)
        run = list_runs(ledger)[0]
        rows = ledger.query("SELECT month, run_id, person, energy_j FROM months")

        assert ledger.query("SELECT run_id FROM unsent") == [{"run_id": run.run_id}]
        assert rows == [{"month": f"{run.started_utc:%Y-%m}", "run_id": run.run_id, "person": None, "energy_j": run.energy_j.value}]  # fmt: skip
        refresh(ledger, runs, summarise)
        assert [r["person"] for r in ledger.query("SELECT person FROM months")] != [None]
        ledger.close()

    def test_file(self, tmp_path):
        """Totals of an older ledger hold from the first moment; who it was follows when the recording is read again."""
        self.check(tmp_path / "ledger.db", tmp_path)

    @pytest.mark.service
    def test_server(self, postgres_url, tmp_path):
        """The same on a server."""
        self.check(postgres_url, tmp_path)


class TestSearches:
    def test_made_on_demand(self, tmp_path):
        """Studies that stood in tables beside the schema move into it, and stand in the copy, too."""
        check_searches_move(tmp_path / "ledger.db")
        with sqlite3.connect(tmp_path / f"ledger.db.before-{NOW}") as copy:
            assert copy.execute("SELECT count(*) FROM study_lines").fetchall() == [(2,)]
        copy.close()

    def test_of_another_program(self, tmp_path):
        """A table `studies` that is another program's stays as it is."""
        check_foreign_studies(tmp_path / "ledger.db")


class TestFile:
    def test_upgrades_by_itself(self, tmp_path, second):
        """Opening an older ledger upgrades it, keeps what it held, and keeps a private copy of what it was."""
        path = tmp_path / "ledger.db"
        write_recording(tmp_path / "runs")
        fill(path)
        second()
        ledger = open_store(path)
        refresh(ledger, tmp_path / "runs", summarise)

        assert ledger.query("SELECT version_num FROM joulewise_schema") == [{"version_num": NEXT}]
        assert ledger.query("SELECT name, colour FROM pots") == [{"name": "sweep", "colour": "blue"}]
        assert Pot(ledger, "sweep").spent().spent.energy_j == 2.0
        assert len(list_runs(ledger)) == 1
        ledger.close()
        kept = tmp_path / f"ledger.db.before-{NEXT}"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        with sqlite3.connect(kept) as copy:
            assert copy.execute("SELECT version_num FROM joulewise_schema").fetchall() == [(NOW,)]
            assert copy.execute("SELECT energy_j FROM pot_spending").fetchall() == [(2.0,)]
        copy.close()

    def test_failed_upgrade(self, tmp_path, second):
        """An upgrade that fails half-way leaves the ledger as it was, and is one line."""
        path = tmp_path / "ledger.db"
        fill(path)
        second('op.execute("INSERT INTO no_such_table VALUES (1)")')
        with pytest.raises(
            LedgerError, match=rf"cannot upgrade the ledger .* to schema {NEXT}: .*no such table.*as it was"
        ) as failed:
            open_store(path)

        assert "\n" not in str(failed.value)
        with sqlite3.connect(path) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            assert connection.execute("SELECT version_num FROM joulewise_schema").fetchall() == [(NOW,)]
        connection.close()
        assert "colours" not in tables

    def test_unknown_older(self, tmp_path):
        """A version that no migration starts from is one line."""
        path = tmp_path / "ledger.db"
        fill(path)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE joulewise_schema SET version_num = '0000'")
        connection.close()
        with pytest.raises(LedgerError, match=r"cannot upgrade the ledger .*0000"):
            open_store(path)

    def test_no_version(self, tmp_path):
        """A ledger without a version is not one of ours."""
        path = tmp_path / "ledger.db"
        fill(path)
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM joulewise_schema")
        connection.close()
        with pytest.raises(LedgerError, match="is not a joulewise ledger"):
            open_store(path)

    def test_two_at_once(self, tmp_path, second):
        """Two processes that meet an older ledger upgrade it once, and both go on."""
        path = tmp_path / "ledger.db"
        fill(path)
        second()
        program = (
            "import sys\n"
            "from pathlib import Path\n"
            "from joulewise.ledger import migrate, store\n"
            "migrate.VERSIONS = (*migrate.VERSIONS, Path(sys.argv[2])); store.SCHEMA = sys.argv[3]\n"
            "print(store.open_store(sys.argv[1]).query('SELECT colour FROM pots'))\n"
        )
        command = [sys.executable, "-c", program, str(path), str(tmp_path / "versions"), NEXT]
        workers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)
        ]
        results = [worker.communicate() for worker in workers]

        assert results == [(b"[{'colour': 'blue'}]\n", b"")] * 3


@pytest.mark.service
class TestServer:
    def test_from_the_first(self, postgres_url):
        """On a server a ledger of the first schema gets all later tables, and copies of what it had."""
        fill(postgres_url)
        ledger = open_store(postgres_url)
        for table in LATER:
            ledger.execute(f"DROP TABLE {table}")
        for statement in NO_JOBS:
            ledger.execute(statement)
        ledger.execute("UPDATE joulewise_schema SET version_num = '0001'")
        ledger.close()
        ledger = open_store(postgres_url)

        assert all(ledger.query(f"SELECT * FROM {table}") == [] for table in LATER)
        assert ledger.query(f"SELECT energy_j FROM pot_spending_before_{NOW}") == [{"energy_j": 2.0}]
        ledger.close()

    def test_searches_made_on_demand(self, postgres_url):
        """On a server studies that stood beside the schema move into it; the old tables are kept under another name."""
        check_searches_move(postgres_url)
        ledger = open_store(postgres_url)

        assert ledger.query("SELECT count(*) AS n FROM study_lines_before_0004") == [{"n": 2}]
        ledger.close()

    def test_studies_of_another_program(self, postgres_url):
        """Optuna's `studies` in the same database stay as they are."""
        check_foreign_studies(postgres_url)

    def test_upgrades_by_itself(self, postgres_url, second, monkeypatch):
        """On a server the primary tables are copied first, in the same transaction."""
        fill(postgres_url)
        second()
        monkeypatch.setattr("joulewise.ledger.server.SCHEMA", NEXT)
        ledger = open_store(postgres_url)

        assert ledger.query("SELECT name, colour FROM pots") == [{"name": "sweep", "colour": "blue"}]
        assert ledger.query(f"SELECT energy_j FROM pot_spending_before_{NEXT}") == [{"energy_j": 2.0}]
        ledger.close()

    def test_failed_upgrade(self, postgres_url, second, monkeypatch):
        """An upgrade that fails on a server leaves the ledger as it was, copies included."""
        fill(postgres_url)
        with monkeypatch.context() as later:
            second('op.execute("INSERT INTO no_such_table VALUES (1)")')
            later.setattr("joulewise.ledger.server.SCHEMA", NEXT)
            with pytest.raises(
                LedgerError, match=rf"cannot upgrade the ledger postgresql://.* to schema {NEXT}"
            ) as failed:
                open_store(postgres_url)
        ledger = open_store(postgres_url)

        assert "\n" not in str(failed.value)
        assert ledger.query("SELECT version_num FROM joulewise_schema") == [{"version_num": NOW}]
        with pytest.raises(LedgerError):
            ledger.query(f"SELECT * FROM pots_before_{NEXT}")
        ledger.close()
