from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.diagnosing import diagnose
from joulewise.diagnosing.derived import Rate, look_over_store
from joulewise.features.hygiene import Query, told_of
from joulewise.features.online import Materialisation, ReadTally, ViewState
from tests.diagnosing.views import case

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

    assert (finding.cause, finding.subject, finding.per) == ("view_nobody_reads", "a", "day")
    assert finding.cpu_s == pytest.approx(240.0)
    assert finding.rate is not None
    assert "never read" in finding.evidence


def test_too_fresh():
    """A view that is made every hour for a reader who is content with ten is made anew every five."""
    (finding,) = look_over_store({"a": made("a")}, [read("a", 36_000.0)], NOW)

    assert finding.cause == "values_too_fresh"
    assert finding.cpu_s == pytest.approx(240 * (1 - 1 / 5))
    assert finding.remedy.text == 'every = "18000s" in view a'


def test_derived_twice_and_request_join():
    """Equal derivations, and a statement that joins while a request waits; a lookup by key is none."""
    states = {"a": made("a", derivations={"x": "same"}), "b": made("b", derivations={"y": "same"})}
    queries = [
        Query("SELECT sum(amount) FROM sales JOIN shops USING (shop) WHERE id = ?", 1000, 3.0),
        Query("SELECT * FROM online WHERE id = ?", 1000, 0.01),
    ]
    found = look_over_store(states, [read("a"), read("b")], NOW, queries=queries)

    assert [f.cause for f in found] == ["derived_twice", "request_time_join"]
    assert found[0].subject == "a.x and b.y"
    assert found[1].cpu_s == pytest.approx(3.0 - 1000 * 10e-6)


def test_clean():
    """A store whose views are read as often as they are made has no finding."""
    assert look_over_store({"a": made("a")}, [read("a", 3600.0)], NOW) == ()


def test_one_waste_for_a_run_and_a_store():
    """What a run's finding says of its view, the store's says in the same words, with the same share spared, and names the run."""
    state = replace(
        made("a"), runs=tuple(replace(m, full=False, run_id=f"run-{n}") for n, m in enumerate(made("a").runs))
    )
    (of_store,) = look_over_store({"a": state}, [read("a", 36_000.0)], NOW)
    told = told_of("a", {"a": state}, [read("a", 36_000.0)], NOW)
    laid = case()
    recording = replace(laid.recording, params={"view": "a", "full": False, **told})
    (of_run,) = diagnose(recording, (), laid.account)

    assert (of_run.cause, of_run.evidence, of_run.remedy) == (
        of_store.cause,
        of_store.evidence,
        of_store.remedy,
    )
    assert of_store.cpu_s == pytest.approx(240 * of_run.saving.cpu_share)
    assert of_store.runs == tuple(f"run-{n}" for n in range(5))
