"""A copy of the ledger is a ledger."""

from __future__ import annotations

import stat

import pytest

from joulewise.ledger.backup import backup
from joulewise.ledger.bodies import read_body
from joulewise.ledger.files import read_recording
from joulewise.ledger.index import list_runs
from joulewise.ledger.pots import Pot, Spending
from joulewise.ledger.pushing import push
from joulewise.ledger.refreshing import refresh
from joulewise.ledger.store import Store, open_store
from joulewise.testing.ledger_contract import summarise, write_recording
from joulewise.vocabulary.errors import LedgerError, UsageError


def check(store: Store, folder) -> None:
    """Copy a filled ledger, spoil the original and read the copy."""
    write_recording(folder / "runs")
    refresh(store, folder / "runs", summarise)
    pot = Pot(store, "sweep")
    pot.join({"energy_j": 5.0})
    pot.spend("a", Spending(energy_j=2.0, carbon_g=None))
    target = backup(store, folder / "copies" / "ledger-copy.db")
    pot.spend("a", Spending(energy_j=3.0))
    copy = open_store(target)

    assert Pot(copy, "sweep").spent().spent == Spending(energy_j=2.0)
    assert [s.run_id for s in list_runs(copy)] == [s.run_id for s in list_runs(store)]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(p.name.removeprefix(target.name) for p in target.parent.iterdir()) in (
        [""],
        ["", "-shm", "-wal"],
    )
    copy.close()


def test_of_a_file(tmp_path):
    """A file is copied while another connection holds it open for writing."""
    store, other = open_store(tmp_path / "ledger.db"), open_store(tmp_path / "ledger.db")
    check(store, tmp_path)
    other.close()
    store.close()


@pytest.mark.service
def test_of_a_server(tmp_path, postgres_url):
    """A ledger on a server is copied into a file."""
    store = open_store(postgres_url)
    check(store, tmp_path)
    store.close()


@pytest.mark.service
def test_pushed_recordings(tmp_path, postgres_url):
    """What was pushed is in the copy, and is read from it where the folder is gone."""
    folder = write_recording(tmp_path / "runs")
    store = open_store(postgres_url)
    push(store, tmp_path / "runs", summarise)
    copy = open_store(backup(store, tmp_path / "copy.db"))

    assert read_body(copy, folder.name) == read_recording(folder)
    copy.close()
    store.close()


def test_refuses_to_overwrite(tmp_path):
    """A file that exists is never written over, and a place that cannot be written is one line."""
    store = open_store(tmp_path / "ledger.db")
    with pytest.raises(UsageError, match="exists already"):
        backup(store, tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match="cannot write the copy"):
        backup(store, tmp_path / "ledger.db" / "below")
    store.close()
