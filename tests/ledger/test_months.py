"""Months: a recording counts once, in the months in which it ran."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.ledger.files import read_recording
from joulewise.ledger.memory import open_memory
from joulewise.ledger.months import Filter, month_shares, stretches, sums, work
from joulewise.ledger.refreshing import rebuild, refresh
from joulewise.measuring.summarising import summary
from joulewise.testing.ledger_contract import write_recording
from joulewise.vocabulary.errors import UnknownName

NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)


@pytest.fixture
def store():
    store = open_memory()
    yield store
    store.close()


def test_over_the_end_of_a_month(store, tmp_path):
    """A day that begins at noon of the 31st lies half in each month, and its halves add up to it."""
    write_recording(tmp_path, at=NOON, length_s=86_400)
    refresh(store, tmp_path, summary)
    found = sums(store, "month", Filter())

    assert [s.key for s in found] == ["2026-10", "2026-11"]
    assert [s.duration_s for s in found] == pytest.approx([43_200, 43_200])
    joules = [s.energy_j.value for s in found if s.energy_j is not None]
    assert joules[0] == pytest.approx(joules[1])
    assert sum(joules) == pytest.approx(store.query("SELECT energy_j FROM recordings")[0]["energy_j"])


@given(st.integers(0, 3_000_000), st.floats(1, 2e7))
def test_shares_add_up(tmp_path_factory, offset_s, length_s):
    """Whenever it ran and however long: the months' shares add up to one recording."""
    at = datetime.fromtimestamp(NOON.timestamp() + offset_s, UTC)
    folder = write_recording(tmp_path_factory.mktemp("runs"), at=at, length_s=length_s)
    shares = month_shares(read_recording(folder))

    assert sum(j for j, _ in shares.values()) == pytest.approx(1)
    assert sum(s for _, s in shares.values()) == pytest.approx(1)
    assert all(j >= 0 and s > 0 for j, s in shares.values())


def test_who_what_and_where(store, tmp_path):
    """Rows tell person, project, zone by its code and device; the folder's owner stands in for a person."""
    write_recording(tmp_path, "a", meta={"person": "ada", "project": "vision", "zone": "Germany"})
    write_recording(tmp_path, "b")
    refresh(store, tmp_path, summary)

    assert {s.key for s in sums(store, "person", Filter())} >= {"ada"}
    assert "" not in {s.key for s in sums(store, "person", Filter())}
    assert [s.key for s in sums(store, "zone", Filter(project="vision"))] == ["DE"]
    assert [s.key for s in sums(store, "project", Filter(person="ada"))] == ["vision"]
    assert [s.key for s in sums(store, "device", Filter(project=""))] == ["Test CPU"]


def test_one_within_another_counts_once(store, tmp_path):
    """A recording inside another is part of that one's joules and in no sum."""
    write_recording(tmp_path, "outer")
    write_recording(tmp_path, "inner", meta={"inside_run": "outer-id"})
    refresh(store, tmp_path, summary)

    assert [s.runs for s in sums(store, "month", Filter())] == [1]


def test_what_is_forgotten(store, tmp_path):
    """A recording that is deleted leaves the months, and a rebuild writes them anew."""
    import shutil

    folder = write_recording(tmp_path, "a")
    write_recording(tmp_path, "b")
    refresh(store, tmp_path, summary)
    shutil.rmtree(folder)
    rebuild(store, tmp_path, summary)

    assert store.query("SELECT COUNT(*) AS n FROM months") == [{"n": 1}]


def test_work_done(store, tmp_path):
    """Joules and counted things of those recordings that counted them."""
    write_recording(tmp_path, "a", values={"samples": 1000})
    write_recording(tmp_path, "b", values={"samples": 3000})
    write_recording(tmp_path, "c", values={"loss": 1})
    write_recording(tmp_path, "d", values={"samples": "many"})
    refresh(store, tmp_path, summary)
    single = store.query("SELECT MAX(energy_j) AS j FROM months")[0]["j"]

    done = work(store, Filter(), "samples")
    assert list(done) == ["2026-03"]
    assert done["2026-03"] == pytest.approx((2 * single, 4000))


def test_hostile_names(store, tmp_path):
    """Names are values and never SQL; a grouping that does not exist is refused."""
    name = "x'; DROP TABLE months; --"
    write_recording(tmp_path, meta={"project": name, "zone": name})
    refresh(store, tmp_path, summary)

    assert [s.key for s in sums(store, "project", Filter(project=name))] == [name]
    assert len(stretches(store, "zone", Filter(), [name])) == 1
    with pytest.raises(UnknownName):
        sums(store, "run_id; DROP TABLE months", Filter())
