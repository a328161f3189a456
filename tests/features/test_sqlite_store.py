"""The online store in an SQLite file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from joulewise.features.online import ReadTally, open_online
from joulewise.features.sqlite_store import SqliteOnline
from joulewise.testing.online_contract import OnlineStoreContract, put, row
from joulewise.vocabulary.errors import FeatureError, UsageError

WRITER = """
import sys
from joulewise.features.online import open_online
from joulewise.testing.online_contract import row
with open_online(sys.argv[1]).writing("spend", fresh=True, whole_keys=True) as writer:
    writer.put(list(range(1000)), [99] * 1000, [row(99, b"half")] * 1000)
    print("written", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def online(tmp_path):
    store = open_online(str(tmp_path / "online.db"))
    yield store
    store.close()


class TestSqliteOnline(OnlineStoreContract):
    def test_killed_in_the_middle(self, online):
        """After `kill -9` in the middle of a full run the old rows are there, and the next run works."""
        put(online, {1: row(1, b"old")}, fresh=True)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, online.where], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        during = list(online.lookup(["spend"]).one(1))
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()

        assert during == [row(1, b"old")]
        assert list(online.lookup(["spend"]).one(1)) == [row(1, b"old")]
        assert put(online, {1: row(2, b"new")}) == 1

    def test_busy_tally_is_told_later(self, online):
        """While a run is being written, a tally is refused at once instead of making the reader wait."""
        other = SqliteOnline(online.where)
        with online.writing("spend", fresh=True, whole_keys=True):
            assert not other.tally([ReadTally("spend", "m", 1, 0, 0, 1.0, 60.0, "a", "b")])
        assert other.tally([ReadTally("spend", "m", 1, 0, 0, 1.0, 60.0, "a", "b")])
        other.close()

    def test_private(self, online):
        """The file is readable by its owner only."""
        assert os.stat(online.where).st_mode & 0o077 == 0

    def test_view_that_is_not_there(self, online):
        """A view that was never materialised is said in one line with what to do."""
        with pytest.raises(
            FeatureError, match="spend was never materialised here; run: joulewise materialise"
        ):
            online.lookup(["spend"]).one(1)

    def test_foreign_file(self, tmp_path):
        """A file that is no SQLite is refused in one line."""
        path = tmp_path / "notes.txt"
        path.write_text("no database " * 100)

        with pytest.raises(FeatureError, match=r"cannot use the online store .*notes.txt"):
            open_online(str(path))

    def test_folder_in_the_way(self, tmp_path):
        """A place that cannot be a file is refused in one line."""
        with pytest.raises(FeatureError, match="cannot open the online store"):
            open_online(str(tmp_path))

    def test_unknown_scheme(self):
        """An address of another kind is refused."""
        with pytest.raises(UsageError, match="must be a path or redis://host:port"):
            open_online("mongodb://localhost")

    def test_text_keys(self, online):
        """Keys may be text; a number and its text are different keys to SQLite's text table only by their text."""
        with online.writing("names", fresh=True, whole_keys=False) as writer:
            writer.put(["a'b", "ü"], [1, 1], [row(1, b"x"), row(1, b"y")])

        assert [list(r) for r in online.lookup(["names"]).many(["ü", "a'b", "b"])] == [
            [row(1, b"y"), row(1, b"x"), None]
        ]

    def test_integer_keys_are_the_rowid(self, online):
        """One whole number as the key is SQLite's own row number: no second index."""
        put(online, {1: row(1, b"a")}, fresh=True)
        with sqlite3.connect(online.where) as connection:
            indices = connection.execute(
                "SELECT * FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE '%spend'"
            ).fetchall()
        connection.close()

        assert indices == []
