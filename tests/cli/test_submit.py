"""`joulewise submit`: the whole way from the command line to a recording, and wrong input in one line."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import pytest

from joulewise.ledger import jobs
from joulewise.ledger.leases import Leases
from joulewise.vocabulary.ticket import Needs
from joulewise.wiring import queue_store

GOOD = ("--deadline", "+8h", "--duration", "10s", "--zone", "DE")


def queued() -> list[jobs.Line]:
    store = queue_store()
    try:
        return jobs.lines(store)
    finally:
        store.close()


def test_runs_and_is_recorded(joulewise, home):
    """A submitted job is run by a worker, recorded as any run, listed as done, and its output is at hand."""
    code = "import os; print('seed', os.environ['SEED'], flush=True)"
    done = joulewise(
        "submit", *GOOD, "--name", "digits", "--env", "SEED=7", "--json", "--", sys.executable, "-c", code
    )
    assert done.returncode == 0, done.stderr
    job_id = json.loads(done.stdout)["job"]
    store = queue_store()
    store.execute("UPDATE jobs SET start_utc = submitted_utc")  # whatever the hour is
    store.close()
    worked = joulewise("worker", "--until-idle", "--capacity", "1cpu")

    assert worked.returncode == 0, worked.stderr
    assert "digits) done" in worked.stdout
    one = json.loads(joulewise("queue", "digits", "--json").stdout)
    assert (one["stage"], one["exit_code"]) == ("done", 0)
    assert [d["what"] for d in one["story"]][-3:] == ["claimed", "started", "done"]
    assert joulewise("queue", job_id[:5], "--output").stdout == "seed 7\n"
    assert "digits" in joulewise("runs").stdout
    shown = json.loads(joulewise("show", "digits", "--json").stdout)
    assert f"job:{job_id}-1" in json.dumps(shown)


def test_learns_from_past_runs(joulewise):
    """Without --duration the lengths of past runs of the same command are planned with; without any, that is said."""
    command = (sys.executable, "-c", "sum(range(1000))")
    first = joulewise("submit", "--deadline", "+8h", "--zone", "DE", "--", *command)
    assert "its length is unknown and no like run was recorded" in first.stdout
    joulewise("run", "--quiet", "--", *command)
    second = joulewise("submit", "--deadline", "+8h", "--zone", "DE", "--", *command)

    assert "(1 run of this command)" in second.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((*GOOD,), "there is no command to submit"),
        (("--zone", "DE", "--", "true"), "say by when it must be done"),
        (("--deadline", "+1h", "--duration", "3h", "--zone", "DE", "--", "true"), "give it until"),
        (
            ("--deadline", "+8h", "--duration", "1h", "--zone", "Atlantis", "--", "true"),
            "unknown zone 'Atlantis'",
        ),
        (("--deadline", "+8h", "--duration", "1h", "--", "true"), "say where it runs"),
        ((*GOOD, "--engine", "loca", "--", "true"), "unknown engine 'loca'; did you mean local?"),
        ((*GOOD, "--", "no-such-program"), "there is no program 'no-such-program'"),
        ((*GOOD, "--checkpoint", "KILL", "--", "true"), "--checkpoint is 'KILL'"),
        ((*GOOD, "--env", "NO_SUCH_VARIABLE", "--", "true"), "there is no variable of this name"),
        ((*GOOD, "--budget", "2 parsecs", "--", "true"), "parsecs"),
        ((*GOOD, "--memory", "2 parsecs", "--", "true"), "--memory is '2 parsecs'"),
        (("--deadline", "yesterdayish", "--duration", "1h", "--zone", "DE", "--", "true"), "yesterdayish"),
        (("--deadline", "+8h", "--duration", "soon", "--zone", "DE", "--", "true"), "soon"),
    ],
)
def test_wrong_input(joulewise, arguments, line):
    """What is wrong is one line and exit code 2, and nothing is half submitted."""
    done = joulewise("submit", *arguments)

    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert queued() == []


@pytest.mark.parametrize(
    ("arguments", "watts"),
    [
        (("--interruptible", "--memory", "100GB", "--gpus", "2"), 100 * 0.38 + 2 * 46),
        (("--interruptible", "--idle-power", "30W", "--gpus", "2"), 30.0),
        (("--checkpoint", "USR1", "--gpus", "2"), 0.0),
    ],
)
def test_idle_power(joulewise, arguments, watts):
    """Suspended work draws what its memory and its GPUs do, or what is said; work that saves its state draws nothing."""
    done = joulewise("submit", *GOOD, *arguments, "--name", "rests", "--", sys.executable, "-V")
    assert done.returncode == 0, done.stderr
    placement = json.loads(joulewise("queue", "rests", "--json").stdout)["placement"]
    assert placement["job"]["interruptible"]["idle_w"] == pytest.approx(watts)


def test_crowded(joulewise, home):
    """A deadline that the others leave no room for is refused with the earliest finish; --late takes it and says so."""
    store = queue_store()
    Leases(store, "w", "here/1").enrol("DE", "local", "", Needs(1), datetime.now(UTC))
    store.close()
    told = ("submit", "--zone", "DE", "--duration", "3h", "--deadline", "+4h", "--", sys.executable, "-V")
    assert joulewise(*told).returncode == 0
    refused = joulewise(*told)

    assert refused.returncode == 2
    assert "beside what is queued it ends" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert len(queued()) == 1
    assert "taken late: beside what is queued it ends" in joulewise("submit", "--late", *told[1:]).stdout
