"""`joulewise settle JOB`: what a job really saved against running at once, by the grid's actual hours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.ledger import jobs
from joulewise.ledger.leases import Leases
from joulewise.ledger.savings import plans
from joulewise.scheduling.plan import Grid
from joulewise.scheduling.queue_plan import planned_alone
from joulewise.testing.queue_contract import HOUR, NOW, ticket
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import Stage
from joulewise.wiring import queue_store

FORECAST = [500.0] * 6 + [100.0] * 6 + [400.0] * 36
ACTUAL = [400.0] * 6 + [200.0] * 6 + [400.0] * 36


@pytest.fixture
def store(home):
    store = queue_store()
    yield store
    store.close()


def ran(store, begin: datetime = NOW + 6 * HOUR, hours: float = 2.0) -> str:
    asked = ticket("night", 2.0)
    grid = Grid({"DE": Signal.of("DE", FORECAST, NOW)})
    job_id = jobs.add(store, asked, planned_alone(asked, grid, NOW), NOW)
    mine = Leases(store, "w", "here/1")
    mine.claim(job_id, 0, "its hour has come", begin)
    end = begin + timedelta(hours=hours)
    mine.finish(job_id, 1, Stage.DONE, "done", [(begin, end)], end, exit_code=0)
    return job_id


def history(home) -> str:
    rows = [f"{(NOW + n * HOUR).isoformat()},{value}" for n, value in enumerate(ACTUAL)]
    (home / "de.csv").write_text("\n".join(["time,g_per_kwh", *rows]) + "\n")
    return str(home / "de.csv")


def test_settles(joulewise, store, home):
    """The promise was 400 W h x 400 g; the grid gave half of it; both are said, and kept in the ledger."""
    job_id = ran(store)
    done = joulewise("settle", "night", "--history", history(home), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["promised_g"] == pytest.approx(0.4 * 400)
    assert told["saved_g"] == pytest.approx(0.4 * 200)
    assert (told["jobs"][0]["name"], told["planned_w"], told["drew_w"]) == ("night", 200.0, None)
    ((name, part),) = plans(store)
    assert name == f"job-{job_id}"
    assert part.saved_g == pytest.approx(80.0)
    assert "saved 80.0 g" in joulewise("settle", job_id, "--history", history(home)).stdout


def test_not_yet(joulewise, store):
    """A job that is not over, and hours that are not known yet, are one line each."""
    asked = ticket("waits", 2.0)
    grid = Grid({"DE": Signal.of("DE", FORECAST, NOW)})
    jobs.add(store, asked, planned_alone(asked, grid, NOW), datetime.now(UTC))
    ran(store)

    assert "is not over (queued)" in joulewise("settle", "waits").stderr
    missing = joulewise("settle", "night")
    assert missing.returncode == 2
    assert "the actual hours of DE are not known yet" in missing.stderr
    assert "is no job of the queue and no file" in joulewise("settle", "nobody").stderr
