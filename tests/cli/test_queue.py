"""`joulewise queue`: lists, one job's story, and names that are not known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.ledger import jobs
from joulewise.ledger.leases import Leases
from joulewise.ledger.savings import keep_plan
from joulewise.testing.queue_contract import add
from joulewise.vocabulary.settled import Report, Settled
from joulewise.vocabulary.ticket import Stage
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
    whole = joulewise("queue", "--chart").stdout
    assert "processors planned, 1 at most" in whole
    assert whole.index("drawn") < whole.index("DE  ")


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


def test_apart_is_for_planning(joulewise, waiting):
    """--apart says how to plan, and nothing else."""
    wrong = joulewise("queue", "--apart")

    assert (wrong.returncode, wrong.stderr) == (
        2,
        "joulewise: --apart says how to plan; write it with --plan\n",
    )
    assert joulewise("queue", "--plan", "--apart").returncode == 0


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


def test_chart_of_nothing(joulewise, waiting):
    """Jobs without a plan leave nothing to draw, and that is said."""
    assert "there is nothing to draw" in joulewise("queue", "--chart").stdout


def test_what_was_saved(joulewise, waiting):
    """What settled jobs saved of what they were promised is said of each, and of all together."""
    told = Settled(waiting[0], NOW, 200.0, 500.0, 320.0, 200.0, None, None, 0.0, "saved")
    store = queue_store()
    keep_plan(store, f"job-{waiting[0]}", Report((told,)), NOW)
    store.close()

    assert "settled   saved; 180 g saved of 200 g promised (90%)" in joulewise("queue", waiting[0]).stdout
    assert "1 settled: 180 g saved of 200 g promised (90%)" in joulewise("queue", "--all").stdout
    assert "settled" not in joulewise("queue", waiting[1]).stdout


def test_lost(joulewise, waiting):
    """A job that is with nobody has no host to give up."""
    refused = joulewise("cancel", "--lost", waiting[0])

    assert refused.returncode == 2
    assert refused.stderr == f"joulewise: {waiting[0]} is with no worker, so there is no host to give up\n"


def test_given_up(joulewise, waiting):
    """A job whose worker has been silent is given up; it has failed, for nobody declared it restartable."""
    store = queue_store()
    mine = Leases(store, "w", "far/1", lease_s=-1.0)
    mine.claim(waiting[0], 0, "its hour", NOW)
    mine.mark(waiting[0], 1, Stage.RUNNING, "handle", [(NOW, None)], NOW)
    store.close()

    shown = joulewise("cancel", "--lost", waiting[0])
    assert "is given up; it is not declared restartable" in shown.stdout
    assert json.loads(joulewise("queue", waiting[0], "--json").stdout)["stage"] == "failed"
