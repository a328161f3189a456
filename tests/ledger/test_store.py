"""The store: one SQL text, three places to keep it, and one clear line when it cannot."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulewise.ledger.index import list_runs
from joulewise.ledger.memory import open_memory
from joulewise.ledger.refreshing import refresh
from joulewise.ledger.store import SCHEMA, Store, network_file_system, open_store
from joulewise.testing.ledger_contract import StoreContract, summarise, write_recording
from joulewise.vocabulary.errors import LedgerError


class TestFile(StoreContract):
    @pytest.fixture
    def store(self, tmp_path) -> Iterator[Store]:
        store = open_store(tmp_path / "state" / "ledger.db")
        yield store
        store.close()


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = open_memory()
        yield store
        store.close()


@pytest.mark.service
class TestServer(StoreContract):
    @pytest.fixture
    def store(self, postgres_url) -> Iterator[Store]:
        store = open_store(postgres_url)
        yield store
        store.close()


def refused(place, **options) -> str:
    with pytest.raises(LedgerError) as error:
        open_store(place, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestOpening:
    def test_private(self, tmp_path):
        """The file is its user's alone, and so is a folder made for it; the write-ahead log is on."""
        path = tmp_path / "new" / "ledger.db"
        old = os.umask(0)
        try:
            store = open_store(path)
        finally:
            os.umask(old)
        store.execute("DELETE FROM shards")

        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in path.parent.iterdir())
        assert store.query("PRAGMA journal_mode") == [{"journal_mode": "wal"}]
        store.close()

    def test_standard_library_only(self, tmp_path):
        """Creating, refreshing, listing and spending on a file import no package outside the standard library."""
        write_recording(tmp_path / "runs")
        program = (
            "import sys\n"
            "from pathlib import Path\n"
            "from joulewise.ledger.store import open_store\n"
            "from joulewise.ledger.index import list_runs\n"
            "from joulewise.ledger.refreshing import refresh\n"
            "from joulewise.ledger.pots import Pot, Spending\n"
            "from joulewise.ledger.backup import backup\n"
            f"store = open_store({str(tmp_path / 'ledger.db')!r})\n"
            "refresh(store, Path('/nowhere'), None); list_runs(store)\n"
            "pot = Pot(store, 'a'); pot.join({}); pot.spend('r', Spending(1.0)); pot.spent()\n"
            f"backup(store, Path({str(tmp_path / 'copy.db')!r}))\n"
            "foreign = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'joulewise'}\n"
            "print(sorted(m for m in foreign if not m.startswith('_')))\n"
        )
        done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, 'src')\n{program}"],
                              capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])  # fmt: skip

        assert done.stderr == ""
        assert done.stdout.strip() == "[]"

    def test_foreign_file(self, tmp_path):
        """A file that is no database is refused by name."""
        path = tmp_path / "ledger.db"
        path.write_text("hello, I am a text of more than sixteen bytes")

        assert "is not a joulewise ledger (no SQLite file)" in refused(path)
        assert path.read_text().startswith("hello")

    def test_foreign_database(self, tmp_path):
        """Another program's database is refused and left alone."""
        path = tmp_path / "mlflow.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE runs (id)")
        connection.close()

        assert "an SQLite file of another program" in refused(path)

    def test_damaged(self, tmp_path):
        """A damaged file is refused in one line that says what is lost and what is not."""
        path = tmp_path / "ledger.db"
        open_store(path).close()
        data = bytearray(path.read_bytes())
        data[100:] = b"\xff" * (len(data) - 100)
        path.write_bytes(data)

        assert "is damaged" in refused(path)

    def test_newer(self, tmp_path):
        """A ledger of a newer joulewise is refused with both versions."""
        path = tmp_path / "ledger.db"
        store = open_store(path)
        store.execute("UPDATE joulewise_schema SET version_num = '0042'")
        store.close()

        assert f"has schema 0042, but this joulewise knows up to {SCHEMA}; upgrade joulewise" in refused(path)

    def test_empty_file(self, tmp_path):
        """An empty file (touched, or cut off by a full disk) becomes a ledger."""
        path = tmp_path / "ledger.db"
        path.touch()
        store = open_store(path)

        assert list_runs(store) == []
        store.close()

    def test_leftover_log(self, tmp_path):
        """A write-ahead log that was left behind when its ledger was deleted does not reach the next ledger."""
        path = tmp_path / "ledger.db"
        store = open_store(path)
        store.execute("INSERT INTO pots (name, limits, created_utc) VALUES ('old', '{}', '')")
        log = path.with_name("ledger.db-wal").read_bytes()
        store.close()
        path.unlink()
        path.with_name("ledger.db-wal").write_bytes(log)
        store = open_store(path)

        assert store.query("SELECT * FROM pots") == []
        assert store.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        store.close()

    def test_folder_in_its_place(self, tmp_path):
        """A folder where the ledger should be is one line."""
        assert "cannot open the ledger" in refused(tmp_path)

    @pytest.mark.parametrize("place", ["mysql://u:secret@h/d", "redis://h"])
    def test_unknown_kind(self, place):
        """A database that we do not know is refused without repeating its password."""
        message = refused(place)

        assert "joulewise knows a path (SQLite) or postgresql://" in message
        assert "secret" not in message

    def test_server_out_of_reach(self):
        """A server that does not answer is one line, without the password."""
        pytest.importorskip("psycopg")
        message = refused("postgresql://anna:secret@127.0.0.1:1/ledger", wait_s=2)

        assert "cannot use the ledger postgresql://anna:***@127.0.0.1:1/ledger: " in message
        assert "secret" not in message

    def test_busy(self, tmp_path):
        """A writer that does not let go is one line after the wait, and afterwards all is well."""
        path = tmp_path / "ledger.db"
        one, other = open_store(path), open_store(path, wait_s=0)
        with one.transaction():
            one.execute("DELETE FROM shards")
            with pytest.raises(LedgerError, match="is busy"):
                other.execute("DELETE FROM shards")
        other.execute("DELETE FROM shards")
        one.close()
        other.close()

    def test_many_at_once(self, tmp_path):
        """Eight processes that create one ledger and write to it at the same moment all succeed."""
        program = (
            "import sys\n"
            "from joulewise.ledger.store import open_store\n"
            "from joulewise.ledger.pots import Pot, Spending\n"
            "sys.stdin.read(1)\n"
            "store = open_store(sys.argv[1])\n"
            "pot = Pot(store, 'all'); pot.join({}); pot.spend(sys.argv[2], Spending(1.0))\n"
        )
        path = tmp_path / "state" / "ledger.db"
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(path), str(n)],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for n in range(8)
        ]
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()  # go
            worker.stdin = None
        errors = [worker.communicate()[1] for worker in workers]
        codes = [worker.returncode for worker in workers]
        store = open_store(path)

        assert (codes, errors) == ([0] * 8, [b""] * 8)
        assert store.query("SELECT COUNT(*) AS count FROM pot_spending") == [{"count": 8}]
        assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []
        store.close()


class TestNetwork:
    MOUNTS = (
        "/dev/sda1 / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "tmpfs /home/local tmpfs rw 0 0\n"
        "fs /scratch\\040space lustre rw 0 0\n"
    )

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/var/lib/ledger.db", ""),
            ("/home/anna/ledger.db", "nfs4"),
            ("/homework/ledger.db", ""),
            ("/home/local/ledger.db", ""),
            ("/scratch space/ledger.db", "lustre"),
        ],
    )
    def test_kind(self, tmp_path, path, kind):
        """The innermost mount that holds the path decides."""
        mounts = tmp_path / "mounts"
        mounts.write_text(self.MOUNTS)

        assert network_file_system(Path(path), mounts) == kind

    def test_unknown(self, tmp_path):
        """Where mounts cannot be read the file system is unknown, which refuses nobody."""
        assert network_file_system(tmp_path, tmp_path / "nothing") == ""

    def test_shared_is_refused(self, tmp_path, monkeypatch):
        """A ledger for several hosts is refused on a network file system, with the line to use instead."""
        monkeypatch.setattr("joulewise.ledger.store.network_file_system", lambda path: "nfs4")

        message = refused(tmp_path / "ledger.db", shared=True)

        assert "is on a network file system (nfs4)" in message
        assert 'ledger = "postgresql://USER@HOST/joulewise"' in message

    def test_own_falls_back(self, tmp_path, monkeypatch):
        """One user's ledger on a network file system works with the rollback journal, which needs no shared memory."""
        monkeypatch.setattr("joulewise.ledger.store.network_file_system", lambda path: "nfs4")
        store = open_store(tmp_path / "ledger.db")
        write_recording(tmp_path / "runs")

        assert refresh(store, tmp_path / "runs", summarise).new == 1
        assert store.query("PRAGMA journal_mode") == [{"journal_mode": "delete"}]
        store.close()


@pytest.mark.service
class TestPostgres:
    def test_foreign_database(self, postgres_url):
        """A database that holds another program's table of our name is refused and left alone."""
        import psycopg

        with psycopg.connect(postgres_url) as connection:
            connection.execute("CREATE TABLE recordings (id int)")

        assert "another program's table 'recordings'" in refused(postgres_url)

    def test_newer(self, postgres_url):
        """A newer ledger on a server is refused."""
        store = open_store(postgres_url)
        store.execute("UPDATE joulewise_schema SET version_num = '0042'")
        store.close()

        assert "has schema 0042" in refused(postgres_url)

    def test_lost_connection(self, postgres_url):
        """A connection that the server ends costs one statement, said in one line; the next one connects again."""
        import psycopg

        store = open_store(postgres_url)
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

        with pytest.raises(LedgerError) as lost:
            store.query("SELECT 1 AS one")
        assert "\n" not in str(lost.value)
        assert store.query("SELECT 1 AS one") == [{"one": 1}]
        store.close()

    def test_created_at_once(self, postgres_url):
        """Four processes that meet an empty database create the ledger once."""
        program = "import sys; from joulewise.ledger.store import open_store; open_store(sys.argv[1]).close()"
        workers = [
            subprocess.Popen([sys.executable, "-c", program, postgres_url], stderr=subprocess.PIPE)
            for _ in range(4)
        ]
        errors = [worker.communicate()[1] for worker in workers]

        assert errors == [b""] * 4
