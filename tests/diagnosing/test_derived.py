from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from joulewise.diagnosing.derived import Rate, look_over_store
from joulewise.features.hygiene import Query
from joulewise.features.online import Materialisation, ReadTally, ViewState

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def made(name, *, every_s=3600.0, cpu_s=10.0, derivations=None):
    runs = tuple(
        Materialisation(
            at_utc=(NOW - timedelta(days=60) + timedelta(seconds=n * every_s)).isoformat(),
            full=True,
            rows_read=10,
            rows_written=10,
            rows_deleted=0,
            bytes_written=80,
            cpu_s=cpu_s,
            wall_s=cpu_s,
        )
        for n in range(5)
    )
    return ViewState(
        name, ("k",), (), "s", "r", None, 1e6, every_s, derivations=derivations or {}, rows=10, row_bytes=8, runs=runs
    )  # fmt: skip


def read(view, tolerates_s=7200.0):
    last = (NOW - timedelta(hours=1)).isoformat()
    return ReadTally(view, "model", 1000, 0, 0, 0.0, tolerates_s, last, last)


def test_unused():
    """A view that nobody reads is named with what it costs a day, priced by its own runs."""
    (finding,) = look_over_store({"a": made("a")}, [], NOW, rates={"a": Rate(20.0, 0.002, None)})

    assert (finding.what, finding.subject, finding.per) == ("unused", "a", "day")
    assert finding.cpu_s == pytest.approx(240.0)
    assert finding.rate is not None
    assert "never read" in finding.evidence


def test_too_fresh():
    """A view that is made every hour for a reader who is content with ten is made anew every five."""
    (finding,) = look_over_store({"a": made("a")}, [read("a", 36_000.0)], NOW)

    assert finding.what == "too fresh"
    assert finding.cpu_s == pytest.approx(240 * (1 - 1 / 5))
    assert finding.remedy.text == "refresh=18000 for a"


def test_derived_twice_and_request_join():
    """Equal derivations, and a statement that joins while a request waits; a lookup by key is none."""
    states = {"a": made("a", derivations={"x": "same"}), "b": made("b", derivations={"y": "same"})}
    queries = [
        Query("SELECT sum(amount) FROM sales JOIN shops USING (shop) WHERE id = ?", 1000, 3.0),
        Query("SELECT * FROM online WHERE id = ?", 1000, 0.01),
    ]
    found = look_over_store(states, [read("a"), read("b")], NOW, queries=queries)

    assert [f.what for f in found] == ["derived twice", "request join"]
    assert found[0].subject == "a.x and b.y"
    assert found[1].cpu_s == pytest.approx(3.0 - 1000 * 50e-6)


def test_clean():
    """A store whose views are read as often as they are made has no finding."""
    assert look_over_store({"a": made("a")}, [read("a", 3600.0)], NOW) == ()
