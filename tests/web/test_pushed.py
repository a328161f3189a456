"""The dashboard shows runs of other machines, as they were pushed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the dashboard needs the extra web")

from joulewise.ledger.pushing import push
from joulewise.ledger.store import open_store
from joulewise.measuring.summarising import summary
from joulewise.testing.ledger_contract import write_recording
from joulewise.vocabulary.errors import UsageError
from joulewise.web.shelf import Shelf

pytestmark = pytest.mark.service


def test_run_and_experiment_of_another_machine(postgres_url, tmp_path: Path, home, monkeypatch):
    """A run whose folder is not here is read from the ledger; one that was not pushed says what to do."""
    folder = write_recording(tmp_path / "n1")
    store = open_store(postgres_url)
    push(store, tmp_path / "n1", summary)
    unpushed = write_recording(tmp_path / "n1", "unpushed")
    from joulewise.ledger.refreshing import refresh

    refresh(store, tmp_path / "n1", summary)
    store.execute("UPDATE recordings SET root = 'elsewhere:/runs'")
    store.close()
    monkeypatch.setenv("JOULEWISE_LEDGER", postgres_url)
    shelf = Shelf()

    assert shelf.account(folder.name).recording.run_id == folder.name
    assert shelf.experiment("digits")[1] == 0  # nothing is left to be looked into
    with pytest.raises(UsageError, match="was not pushed; run 'joulewise push' there"):
        shelf.account(unpushed.name)
