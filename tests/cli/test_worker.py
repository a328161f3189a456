"""`joulewise worker`: what it may fill, how it leaves, and that another worker goes on after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from joulewise.cli.worker import _room
from joulewise.ledger import jobs
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.ticket import Needs, Stage
from joulewise.wiring import queue_store


def test_capacity():
    """The capacity is read from words; without one it is this machine."""
    assert _room("4cpu, 1gpu, 16GB") == Needs(4, 1, 16_000_000_000)
    assert _room("2 CPUs") == Needs(2)
    assert _room(None).cpus >= 1
    assert str(Needs(4, 1, 16_000_000_000)) == "4 CPUs, 1 GPU, 16 GB"
    for wrong in ("1gpu", "16", "many"):
        with pytest.raises(UsageError):
            _room(wrong)


def test_killed(joulewise, home):
    """A worker is killed while it runs a job; the next one adopts the program, which never notices."""
    code = "import os,time; print(os.getpid(), flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)"
    asked = (
        "submit",
        "--deadline",
        "+2h",
        "--zone",
        "DE",
        "--name",
        "long",
        "--",
        sys.executable,
        "-c",
        code,
    )
    assert joulewise(*asked).returncode == 0
    store = queue_store()
    first = subprocess.Popen(
        [sys.executable, "-m", "joulewise", "worker"], stdout=subprocess.DEVNULL, cwd=home
    )
    end_s = time.monotonic() + 60
    while not joulewise("queue", "long", "--output").stdout and time.monotonic() < end_s:
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (home / "go").touch()
    second = joulewise("worker", "--until-idle")
    line = jobs.find(store, "long")

    assert (line.stage, line.fence) == (Stage.DONE, 1)
    assert "adopted from" in second.stdout
    assert len(joulewise("queue", "long", "--output").stdout.split()) == 1
    store.close()


def test_leaves(home):
    """SIGTERM ends a worker with exit code 0, and it is no longer listed."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "joulewise", "worker"], stdout=subprocess.PIPE, cwd=home, text=True
    )
    assert worker.stdout is not None
    assert "worker" in worker.stdout.readline()
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(60) == 0
    store = queue_store()
    assert store.query("SELECT * FROM workers") == []
    store.close()
    worker.stdout.close()


def test_beside_each_other(joulewise, home):
    """Two jobs that each ask for the whole machine run beside each other once their command was seen to use little of it."""
    command = (sys.executable, "-c", "import time; time.sleep(2.5)")
    for _ in range(2):
        joulewise("run", "--quiet", "--", *command)
    for name in ("one", "two"):
        joulewise(
            "submit", "--deadline", "+1h", "--zone", "DE", "--duration", "3s", "--name", name, "--", *command
        )
    store = queue_store()
    store.execute("UPDATE jobs SET start_utc = submitted_utc")  # whatever the hour is
    store.close()
    worked = joulewise("worker", "--until-idle", "--capacity", "1cpu")

    assert worked.returncode == 0, worked.stderr
    (one,), (two,) = (json.loads(joulewise("queue", n, "--json").stdout)["attempts"] for n in ("one", "two"))
    assert one["ran"][0][0] < two["ran"][0][1]
    assert two["ran"][0][0] < one["ran"][0][1]
