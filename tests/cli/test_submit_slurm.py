"""`joulewise submit --engine slurm`: from a login node, on a real Slurm, to a recording."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.ledger.leases import Leases
from joulewise.scheduling.moving import move_handed
from joulewise.scheduling.plan import Grid
from joulewise.testing.slurm import private_slurm, slurm_missing
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import Needs
from joulewise.wiring import engine, queue_store

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]
SCRIPT = """#!/bin/bash
#SBATCH --job-name=nightly
#SBATCH --time=00:10:00
#SBATCH -c 2
echo script $1
"""


@pytest.fixture
def cluster(monkeypatch):
    if why := slurm_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}; in CI that is a failure", pytrace=False)
        pytest.skip(why)
    with private_slurm(2) as started:
        monkeypatch.setenv("SLURM_CONF", started.environment["SLURM_CONF"])
        yield started


def test_from_a_login_node(joulewise, cluster, home):
    """A command and an sbatch script as it is are submitted, run by Slurm in their hour, and the command is recorded."""
    (home / "job.sh").write_text(SCRIPT)
    told = ("submit", "--engine", "slurm", "--zone", "DE", "--json", "--deadline", "+8h")
    command = joulewise(*told, "--duration", "10s", "--name", "digits", "--", "echo", "trained")
    script = joulewise(*told, "--", "sbatch", "job.sh", "hello")
    lost = joulewise(*told, "--", "sbatch", "nosuch.sh")

    assert command.returncode == 0, command.stderr
    assert script.returncode == 0, script.stderr
    assert json.loads(script.stdout)["name"] == "nightly"
    assert json.loads(script.stdout)["handed"].startswith("slurm job ")
    assert lost.returncode == 2
    assert lost.stderr == "joulewise: cannot read the script nosuch.sh: No such file or directory\n"
    store = queue_store()
    store.execute(
        "UPDATE jobs SET start_utc = submitted_utc"
    )  # whatever the hour is: Slurm is told to begin them now
    store.execute("UPDATE job_papers SET placement = ''")
    store.close()
    worked = joulewise("worker", "--engine", "slurm", "--until-idle")

    assert "8 CPUs" in worked.stdout
    assert "digits) done" in worked.stdout
    assert "nightly) done" in worked.stdout
    assert joulewise("queue", "digits", "--output").stdout == "trained\n"
    assert "script hello" in joulewise("queue", "nightly", "--output").stdout
    assert "digits" in joulewise("runs").stdout
    assert "NumCPUs=2" in cluster.command("scontrol", "show", "job", "--all")


def test_without_a_worker(joulewise, cluster):
    """With no worker there Slurm has the job at once; the list finds out how it ended, and cancel reaches it there."""
    told = ("submit", "--engine", "slurm", "--zone", "DE", "--duration", "1s")
    asked = joulewise(
        *told, "--interruptible", "--deadline", "+20s", "--name", "soon", "--", "echo", "trained"
    )
    assert asked.returncode == 0, asked.stderr
    assert "no worker is there, so it is slurm job" in asked.stdout
    assert "it runs in one go, for pauses need a worker" in asked.stdout
    end = time.monotonic() + 90
    while (one := json.loads(joulewise("queue", "soon", "--json").stdout))["stage"] != "done":
        assert time.monotonic() < end, one
        time.sleep(1)
    assert one["exit_code"] == 0
    assert [d["what"] for d in one["story"]][:3] == ["submitted", "claimed", "handed over"]
    assert joulewise("queue", "soon", "--output").stdout == "trained\n"

    refused = joulewise(*told, "--deadline", "+2h", "--cpus", "64", "--", "true")
    assert refused.returncode == 2
    assert "sbatch" in refused.stderr
    joulewise(*told, "--start", "+1h", "--deadline", "+2h", "--name", "later", "--", "true")
    assert "BeginTime" in cluster.command("squeue", "-h", "-o", "%j %r")
    joulewise("cancel", "later")
    assert json.loads(joulewise("queue", "later", "--json").stdout)["stage"] == "cancelled"
    assert len(json.loads(joulewise("queue", "--json").stdout)["jobs"]) == 0


def test_refused_beside_a_worker(joulewise, cluster, home):
    """What the cluster would refuse is refused at once where a worker is there, too: nothing is half-submitted."""
    (home / "job.sh").write_text(SCRIPT)
    store = queue_store()
    Leases(store, "w", "here/1", 600.0).enrol("", "slurm", "", Needs(8), datetime.now(UTC))
    told = ("submit", "--engine", "slurm", "--zone", "DE", "--duration", "1h", "--deadline", "+9h")
    for line, says in (
        (("sbatch", "--partition=none", "job.sh"), "invalid partition"),
        (("sbatch", "--cpus-per-task=99", "job.sh"), "not available"),
    ):
        refused = joulewise(*told, "--", *line)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert says in refused.stderr
    assert joulewise(*told, "--cpus", "5", "--", "true").returncode == 2  # two nodes of four hold no five
    assert json.loads(joulewise("queue", "--json").stdout)["jobs"] == []
    store.close()


def test_moved_without_a_worker(joulewise, cluster):
    """What Slurm has and has not begun follows a newer forecast: its own start time is another then."""
    told = (
        "submit",
        "--engine",
        "slurm",
        "--zone",
        "DE",
        "--duration",
        "1h",
        "--start",
        "+1h",
        "--deadline",
        "+9h",
    )
    asked = joulewise(*told, "--name", "later", "--", "true")
    assert asked.returncode == 0, asked.stderr
    store = queue_store()
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    newer = Grid({"DE": Signal.of("DE", [500.0] * 4 + [10.0] * 2 + [600.0] * 42, hour)})

    (said,) = move_handed(store, engine("slurm"), Leases(store, "crontab", "here/1"), lambda *_: newer, now)
    clean = hour + timedelta(hours=4)
    assert said.endswith(f"moved to {clean:%Y-%m-%d %H:%M} UTC: a newer forecast")
    told_start = cluster.command("squeue", "-h", "-o", "%S").strip()
    assert abs(datetime.fromisoformat(told_start).astimezone(UTC) - clean) < timedelta(seconds=5)
    shown = json.loads(joulewise("queue", "later", "--json").stdout)
    assert shown["start_utc"] == clean.isoformat()
    assert [d["what"] for d in shown["story"]][-1] == "moved"
    joulewise("cancel", "later")
    store.close()
