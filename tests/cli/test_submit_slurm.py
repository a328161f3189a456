"""`joulewise submit --engine slurm`: from a login node, on a real Slurm, to a recording."""

from __future__ import annotations

import json
import os
import time

import pytest

from joulewise.testing.slurm import private_slurm, slurm_missing
from joulewise.wiring import queue_store

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
