"""`joulewise submit --engine slurm`: from a login node, on a real Slurm, to a recording."""

from __future__ import annotations

import json
import os

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
    assert lost.returncode == 2
    assert lost.stderr == "joulewise: cannot read the script nosuch.sh: No such file or directory\n"
    store = queue_store()
    store.execute("UPDATE jobs SET start_utc = submitted_utc")  # whatever the hour is
    store.close()
    worked = joulewise("worker", "--engine", "slurm", "--until-idle")

    assert "8 CPUs" in worked.stdout
    assert "digits) done" in worked.stdout
    assert "nightly) done" in worked.stdout
    assert joulewise("queue", "digits", "--output").stdout == "trained\n"
    assert "script hello" in joulewise("queue", "nightly", "--output").stdout
    assert "digits" in joulewise("runs").stdout
    assert "NumCPUs=2" in cluster.command("scontrol", "show", "job", "--all")
