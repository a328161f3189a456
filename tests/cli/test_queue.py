"""`joulewise queue`: lists, one job's story, and names that are not known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.ledger import jobs
from joulewise.testing.queue_contract import add
from joulewise.wiring import queue_store

NOW = datetime.now(UTC)


@pytest.fixture
def waiting(home):
    store = queue_store()
    ids = [add(store, name, start=NOW + timedelta(hours=n)) for n, name in enumerate(("first", "second"))]
    yield ids
    store.close()


def test_empty(joulewise):
    """An empty queue says how to fill it."""
    assert "joulewise submit -- COMMAND submits a job" in joulewise("queue").stdout
    assert json.loads(joulewise("queue", "--json").stdout) == {"schema_version": 1, "jobs": []}


def test_list(joulewise, waiting):
    """What waits is listed in the order in which it starts; that no worker is there is said."""
    shown = joulewise("queue").stdout
    told = json.loads(joulewise("queue", "--json").stdout)["jobs"]

    assert shown.index("first") < shown.index("second")
    assert "2 queued" in shown
    assert "no worker is there" in shown
    assert [j["job"] for j in told] == waiting
    assert json.loads(joulewise("queue", "--owner", "bob", "--json").stdout)["jobs"] == []


def test_one(joulewise, waiting):
    """One job is told with its command, its plan and its story."""
    shown = joulewise("queue", waiting[0][:6]).stdout

    assert "first: queued; for the test" in shown
    assert "command   sleep 3600" in shown
    assert "submitted     for the test" in shown


def test_chart(joulewise, home):
    """A job's plan is drawn over the forecast, with a mark under each of its hours."""
    command = (
        "submit",
        "--deadline",
        "+8h",
        "--duration",
        "2h",
        "--zone",
        "DE",
        "--name",
        "drawn",
        "--",
        "true",
    )
    assert joulewise(*command).returncode == 0
    shown = joulewise("queue", "drawn", "--chart").stdout

    assert "g/kWh highest" in shown
    assert "^" in shown
    assert "--chart is for one job" in joulewise("queue", "--chart").stderr


def test_unknown(joulewise, waiting):
    """A job that is not known is one line with the nearest name."""
    done = joulewise("queue", "fist")

    assert done.returncode == 2
    assert "unknown job 'fist'; did you mean first?" in done.stderr
    assert joulewise("queue", "--output").returncode == 2
    assert "has not started yet" in joulewise("queue", "first", "--output").stderr


def test_plan(joulewise, waiting):
    """`queue --plan` plans what waits and says what the plan rests on."""
    shown = joulewise("queue", "--plan")

    assert shown.returncode == 0, shown.stderr
    assert "2 planned" in shown.stdout
    assert "grid DE: " in shown.stdout


def test_cancel(joulewise, waiting):
    """`cancel` takes jobs out of the queue; one unknown name among them cancels none."""
    assert joulewise("cancel", waiting[0], "nobody").returncode == 2
    done = joulewise("cancel", "first", "second")
    store = queue_store()

    assert "is cancelled" in done.stdout
    assert jobs.lines(store) == []
    store.close()
    again = joulewise("cancel", "first")
    assert again.returncode == 2
    assert "is over already (cancelled)" in again.stderr
