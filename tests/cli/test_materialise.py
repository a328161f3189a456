"""`joulewise materialise`: from a file of views to the store, recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("numpy")

from joulewise import wiring  # noqa: E402
from joulewise.cli.materialise import command  # noqa: E402

VIEWS = """
[spend]
keys = "user"
event_time = "ts"
ttl = "2d"
owner = "growth"
sql = 'SELECT "user", ts, amount FROM events'
sources = { events = "events.parquet" }

[more]
keys = "user"
event_time = "ts"
ttl = "1s"
sql = 'SELECT "user", ts, amount + 1 AS more FROM spend'
"""


def write_events(folder, count):
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT i AS \"user\", TIMESTAMPTZ '2026-01-01' + to_seconds(i) AS ts, i / 2 AS amount FROM range({count}) t(i)) "
            f"TO '{folder / 'events.parquet'}' (FORMAT parquet)"
        )


@pytest.fixture
def views(tmp_path):
    (tmp_path / "views.toml").write_text(VIEWS)
    write_events(tmp_path, 5)
    return str(tmp_path / "views.toml")


def run(*arguments):
    result = CliRunner().invoke(command, arguments)
    return result.output, result.exception


def told(*arguments):
    output, error = run(*arguments, "--json")
    assert error is None, error
    return {v["view"]: v for v in json.loads(output)["views"]}


def test_first_then_changes(views, tmp_path):
    """The first run computes everything, the next what changed; JSON tells both, with the energy and the recording."""
    first = told(views)
    write_events(tmp_path, 6)
    second = told(views)

    assert (first["spend"]["why_full"], first["spend"]["rows_written"]) == ("first run", 5)
    assert (
        second["spend"]["why_full"],
        second["spend"]["rows_written"],
        second["spend"]["rows_in_store"],
    ) == (None, 1, 6)
    recording = wiring.find(second["spend"]["run_id"])
    assert recording.name == "materialise spend"
    assert recording.params == {
        "view": "spend",
        "rows": 1,
        "bytes": second["spend"]["bytes_written"],
        "full": False,
    }


def test_table(views):
    """The table names the views and what was computed."""
    output, error = run(views)

    assert error is None
    assert [line.split()[:3] for line in output.splitlines()[1:]] == [
        ["spend", "first", "run"],
        ["more", "first", "run"],
    ]


def test_one_view(views):
    """`--view` chooses; `--since all` computes everything, a time what is newer."""
    assert list(told(views, "--view", "more")) == ["more"]
    assert told(views, "--since", "all", "--view", "more")["more"]["why_full"] == "asked for"
    assert told(views, "--since", "2026-01-01T00:00:02Z", "--view", "more")["more"]["rows_read"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "soon"], "--since is 'soon', but must be auto, all or a time"),
        (["--memory", "much"], "cannot read 'much'"),
        (["--memory", "5s"], "--memory is '5s', but must be a size"),
        (["--view", "spent"], "unknown view 'spent'; did you mean spend"),
        (["--store", "mongodb://x"], "must be a path or redis://"),
    ],
)
def test_refused(views, arguments, message):
    """Wrong use is one line with exit code 2."""
    _, error = run(views, *arguments)

    assert getattr(error, "exit_code", None) == 2
    assert message in str(error)


def test_migrate(views, tmp_path):
    """Other columns are refused, and made anew with `--migrate`."""
    run(views)
    (tmp_path / "views.toml").write_text(VIEWS.replace("ts, amount FROM", "ts, amount, 1 AS one FROM"))
    _, error = run(views)

    assert "(+one)" in str(error)
    assert told(views, "--migrate")["spend"]["why_full"] == "columns changed: +one"


def test_watch(views, tmp_path):
    """`--watch` goes on until it is interrupted, and takes up what comes meanwhile."""
    program = "from joulewise.cli.app import app; raise SystemExit(app.main())"
    watcher = subprocess.Popen(
        [sys.executable, "-c", program, "materialise", views, "--watch"],
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    online = wiring.online_store()
    try:
        end_s = time.monotonic() + 20
        while not ("more" in online.states() and len(online.states()["more"].runs) >= 2):
            assert time.monotonic() < end_s, online.states()
            time.sleep(0.05)
    finally:
        watcher.send_signal(signal.SIGINT)
        output, _ = watcher.communicate(timeout=20)
    spent = len(online.states()["spend"].runs)
    online.close()

    assert watcher.returncode == 0
    assert "first run" in output
    assert spent == 1  # its TTL is two days


def test_waste_is_noted(views, tmp_path):
    """A run's recording tells what the store knew of its view: here, that another one derives the same."""
    (tmp_path / "views.toml").write_text(VIEWS + VIEWS.replace("[spend]", "[twin]").partition("[more]")[0])
    run(views)
    twin, spend = (wiring.find(f"materialise {name}").params for name in ("twin", "spend"))

    assert (twin["derived_also"], twin["derived_share"]) == ("spend.amount", 1.0)
    assert "derived_also" not in spend


def queued():
    from joulewise.ledger import jobs

    store = wiring.queue_store()
    try:
        return {line.name: (line, jobs.ticket(store, line.id)) for line in jobs.lines(store)}
    finally:
        store.close()


def test_submitted_and_run(joulewise, tmp_path):
    """The next run waits in the queue, planned before its values are too old; a worker runs it, and it is recorded."""
    (tmp_path / "views.toml").write_text(VIEWS.partition("[more]")[0])
    write_events(tmp_path, 5)
    views = str(tmp_path / "views.toml")
    run(views)
    write_events(tmp_path, 6)
    (put,) = json.loads(run(views, "--submit", "--zone", "DE", "--json")[0])["jobs"]
    again = run(views, "--submit", "--zone", "DE")[0]
    ((line, ticket),) = queued().values()
    online = wiring.online_store()
    last = datetime.fromisoformat(online.states()["spend"].runs[-1].at_utc)

    assert put["new"]
    assert f"{put['job']} was in the queue already" in again
    assert ticket.job.release_utc == last + timedelta(days=1)  # half of its TTL
    assert line.deadline_utc == last + timedelta(days=2)
    assert (
        ticket.job.release_utc
        <= datetime.fromisoformat(put["start_utc"])
        <= line.latest_utc
        < line.deadline_utc
    )
    assert ticket.restartable
    store = wiring.queue_store()
    store.execute("UPDATE jobs SET start_utc = submitted_utc")  # whatever the hour is
    store.close()
    worked = joulewise("worker", "--until-idle", "--capacity", "1cpu,4GB")

    assert "materialise-spend) done" in worked.stdout, worked.stdout + worked.stderr
    assert queued() == {}
    done = online.states()["spend"].runs[-1]
    assert (done.full, done.rows_written) == (False, 1)
    recording = wiring.find(done.run_id)
    assert (recording.name, recording.params["rows"]) == ("materialise-spend", 1)
    assert f"job:{put['job']}-1" in joulewise("show", "materialise-spend", "--json").stdout
    online.close()


def test_submitted_too_late(views, tmp_path):
    """A view whose values are too old already is planned at once, with time to end."""
    run(views)
    time.sleep(1.1)  # the TTL of `more` is a second
    (put,) = json.loads(run(views, "--view", "more", "--submit", "--zone", "DE", "--json")[0])["jobs"]

    assert datetime.fromisoformat(put["deadline_utc"]) - datetime.now(UTC) < timedelta(minutes=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--zone", "DE"], "view spend was never materialised here"),
        ([], "say where it runs"),
        (["--zone", "Atlantis"], "unknown zone 'Atlantis'"),
        (["--zone", "DE", "--since", "all"], "--since does not go with --submit"),
        (["--zone", "DE", "--store", "redis://me:secret@host/0"], "a queue is no place for it"),
    ],
)
def test_submit_refused(views, arguments, message):
    """What cannot be put off, or must not be carried along, is refused in one line, and nothing is submitted."""
    _, error = run(views, "--submit", *arguments)

    assert getattr(error, "exit_code", None) == 2
    assert message in str(error)
    assert queued() == {}
