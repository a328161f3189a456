"""`joulewise ledger` checks, rebuilds and copies the ledger, and lists pots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulewise import wiring
from joulewise.cli.ledger import command
from joulewise.ledger.index import list_runs
from joulewise.ledger.pots import Pot, Spending
from joulewise.ledger.store import open_store
from joulewise.testing.postgres import postgres_binaries, private_postgres
from joulewise.vocabulary.errors import UsageError


def asked(*arguments, code=0):
    result = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == code, result.output
    answer = json.loads(result.output)
    assert answer["schema_version"] == 1
    return answer


@pytest.fixture
def recorded():
    """Give one recording."""
    with wiring.track("digits", interval_s=0.05) as run:
        run.log(loss=1.0)
    return wiring.find("digits")


@pytest.fixture
def pot():
    """Give a pot with one run that knows no grams."""
    ledger = wiring.store()
    sweep = Pot(ledger, "night-sweep")
    sweep.join({"energy_j": 2e6, "carbon_g": 100.0, "time_s": 3600.0})
    sweep.spend("a-run", Spending(energy_j=5e5, time_s=60.0))
    ledger.close()
    return "night-sweep"


def test_check(recorded, pot):
    """A sound ledger says what it holds."""
    answer = asked("check")

    assert answer["sound"]
    assert (answer["recordings"], answer["pots"], answer["unreadable"]) == (1, 1, [])


def test_check_names_what_cannot_be_read(recorded):
    """A recording of a future format is named, and the exit code is 1."""
    folder = Path(wiring.settings().runs) / "2026-01-01" / "20260101T000000-future-000000"
    folder.mkdir(parents=True)
    (folder / "run-host-1.jsonl").write_bytes(b"nothing of ours\n")

    answer = asked("check", code=1)

    assert not answer["sound"]
    assert [Path(d["folder"]).name for d in answer["unreadable"]] == [folder.name]


def test_check_finds_a_damaged_index(recorded, pot):
    """A row that refers to nothing is a fault."""
    import sqlite3

    wiring.refresh().close()
    with sqlite3.connect(wiring.settings().ledger) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("UPDATE pot_spending SET pot = 'nobody'")
    raw.close()

    answer = asked("check", code=1)

    assert answer["faults"] == ["1 rows refer to rows that do not exist"]


def test_rebuild_keeps_pots(recorded, pot):
    """A rebuilt ledger lists the same recordings, and the pots are as they were."""
    ledger = wiring.refresh()
    before = list_runs(ledger)
    ledger.execute("UPDATE recordings SET name = 'wrong'")
    ledger.close()

    answer = asked("rebuild")

    ledger = wiring.store()
    assert answer["recordings"] == 1
    assert list_runs(ledger) == before
    assert Pot(ledger, pot).spent().spent.energy_j == 5e5
    ledger.close()


def test_backup(recorded, pot, tmp_path):
    """The copy is a ledger with the same pots; it never overwrites a file."""
    target = tmp_path / "copy.db"

    answer = asked("backup", str(target))

    copy = open_store(target)
    assert Pot(copy, pot).spent().spent.energy_j == 5e5
    copy.close()
    assert answer["bytes"] == target.stat().st_size
    error = CliRunner().invoke(command, ["backup", str(target)]).exception
    assert isinstance(error, UsageError)
    assert "exists already" in str(error)


def test_pots(pot):
    """A pot is listed with what was spent of each limit; what a run does not know is said."""
    (line,) = asked("pots")["pots"]
    output = CliRunner().invoke(command, ["pots"]).output

    assert line["limits"] == {"energy_j": 2e6, "carbon_g": 100.0, "time_s": 3600.0}
    assert line["incomplete"] == ["carbon_g", "cost", "trials"]
    assert line["spent"]["carbon_g"] is None
    assert "500 kJ of 2.00 MJ (25 %)" in output
    assert "unknown of 100 g" in output


def test_no_pot_says_how_to_make_one():
    """Where there is no pot, the line shows how one is made."""
    assert "--pot" in CliRunner().invoke(command, ["pots"]).output


@pytest.mark.service
def test_on_a_server(monkeypatch, tmp_path):
    """A ledger on a server is checked, rebuilt, listed and copied in the same words; its password is not shown."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'joulewise[postgres]')")
    if postgres_binaries() is None:
        pytest.skip("no PostgreSQL server binaries on this machine")
    with private_postgres() as url:
        monkeypatch.setenv("JOULEWISE_LEDGER", url.replace("@", ":hush@", 1))
        with wiring.track("digits", interval_s=0.05):
            pass

        checked = asked("check")
        copy = asked("backup", str(tmp_path / "copy.db"))

        assert (checked["sound"], checked["recordings"]) == (True, 1)
        assert asked("rebuild")["recordings"] == 1
        assert asked("pots")["pots"] == []
        assert copy["bytes"] > 0
        assert "hush" not in checked["ledger"] + copy["ledger"]


def test_unknown_part_is_one_line():
    """A part that does not exist ends with exit code 2 and one line."""
    done = subprocess.run(
        [sys.executable, "-m", "joulewise", "ledger", "rebild"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )

    assert done.returncode == 2
    assert done.stderr.startswith("joulewise: ")
    assert len(done.stderr.splitlines()) == 1
