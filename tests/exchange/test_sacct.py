"""Slurm's accounting: jobs nobody recorded become recordings, once, with joules that say how they are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from joulewise.exchange.imported import keep
from joulewise.exchange.sacct import COLUMNS, Hardware, imported, read
from joulewise.exchange.sacct_waste import waste
from joulewise.ledger.files import read_recording, run_folder
from joulewise.testing.slurm import private_slurm, slurm_missing
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, EndState
from tests.services import missing

# as Slurm 22.05 printed it for real jobs (times, energies and GPUs changed); %s times
HEAD = "|".join(COLUMNS)
BUSY = """1|train|ada|vision|tide|COMPLETED|1766000000|1766003600|3600|8|1|n1|billing=8,cpu=8,mem=32G,node=1|32G|||07:12:00|
1.batch|batch||vision|tide|COMPLETED|1766000000|1766003600|3600|8|1|n1|cpu=8,mem=32G,node=1||8388608K|1|07:12:00|0
1.extern|extern||vision|tide|COMPLETED|1766000000|1766003600|3600|8|1|n1|billing=8,cpu=8,mem=32G,node=1||0|1|00:00.001|0
"""
LATE = """2_7|sweep|bea|vision|tide|TIMEOUT|1766000000|1766007200|7200|4|1|n2|cpu=4,mem=16G,node=1|4Gn|||00:40:00|
2_7.0|a.out||vision|tide|CANCELLED by 0|1766000000|1766007200|7200|4|1|n2|cpu=4,mem=16G,node=1||1G|4|00:40:00|
"""
GPUS = """3|big|bea|speech|tide|CANCELLED by 1001|2025-12-17T10:00:00|2025-12-17T11:00:00|3600|16|2|n[1-2]|billing=16,cpu=16,gres/gpu=4,mem=0,node=2|2Gc|||1-00:00:00|
"""
WAITS = """4|later|bea|speech|tide|PENDING|Unknown|Unknown|0|0|1|None assigned||4G|||00:00:00|
5|now|bea|speech|tide|RUNNING|1766000000|Unknown|60|2|1|n1|cpu=2|4G|||00:00:00|
"""


def jobs(*rows: str):
    return read(f"{HEAD}\n{''.join(rows)}")[0]


class TestRead:
    def test_rows(self):
        """A job is read of its allocation and steps: times, state, what it was given and what it used."""
        busy, late, gpus = jobs(BUSY, LATE, GPUS, WAITS)

        assert (busy.key, busy.name, busy.user, busy.account) == ("slurm:1@tide", "train", "ada", "vision")
        assert busy.started_utc == datetime.fromtimestamp(1766000000, UTC)
        assert (busy.cpu_s, busy.load, busy.used_memory_bytes) == (25920.0, 0.9, 8 * 2**30)
        assert (late.id, late.state, late.memory_bytes, late.used_memory_bytes) == (
            "2_7",
            "TIMEOUT",
            16 * 2**30,
            4 * 2**30,
        )
        assert (gpus.state, gpus.gpus, gpus.memory_bytes) == ("CANCELLED", 4, 16 * 2 * 2**30)
        assert gpus.started_utc == datetime(2025, 12, 17, 10).astimezone(UTC)
        assert read(f"{HEAD}\n{WAITS}") == ([], 2)

    def test_hostile_names(self):
        """A job's name may hold the delimiter; a requeued job is two."""
        odd = BUSY.splitlines()[0].replace("train", "a|b|'; DROP TABLE jobs; --<script>")
        again = BUSY.splitlines()[0].replace("1766000000|1766003600", "1766010000|1766013600")
        found = jobs(odd + "\n", again + "\n")

        assert found[0].name == "a|b|'; DROP TABLE jobs; --<script>"
        assert [j.started_utc.timestamp() for j in found] == [1766000000.0, 1766010000.0]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("JobID|State\n1|COMPLETED\n", "has no column Start, ElapsedRaw, AllocCPUS"),
            ("", "has no column"),
            (f"{HEAD}\n1|x\n", "line 2 has 2 values, but there are 18 columns"),
            (f"{HEAD}\n{BUSY.replace('07:12:00', 'soon')}", "line 2: TotalCPU is 'soon'"),
            (f"{HEAD}\n{BUSY.replace('1766000000', 'yesterday')}", "line 2: Invalid isoformat"),
        ],
    )
    def test_no_accounting(self, text, said):
        """What sacct did not print is refused in one line that names it."""
        with pytest.raises(UsageError, match=said):
            read(text)


class TestJoules:
    def test_modelled(self):
        """CPU joules follow load and allocation, memory its size; the interval holds both, and no CPU is dearer than full."""
        busy, late = jobs(BUSY, LATE)
        record = imported(busy)
        known = record.known[Component.CPU]

        assert record.energy_j[Component.CPU] == pytest.approx(3.8 * 8 * 0.978 * 3600)
        assert known.basis is Basis.ASSUMED
        assert "load curve at 90 % load" in known.source
        assert record.energy_j[Component.MEMORY] == pytest.approx(0.38e-9 * 32 * 2**30 * 3600)
        idle = imported(late).energy_j[Component.CPU] / (4 * 7200)
        assert 3.8 * 0.25 < idle < 3.8 * 0.313  # 8 % of the load, far more than 8 % of the watts
        known_cpu = imported(busy, Hardware(cpu_model="Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz"))
        assert known_cpu.known[Component.CPU].basis is Basis.MODELLED
        assert imported(busy, Hardware(cpu_w=6.0)).energy_j[Component.CPU] == pytest.approx(6 * 8 * 0.978 * 3600)  # fmt: skip

    def test_unknown_load(self):
        """Where TotalCPU was not gathered the interval reaches from idle to full."""
        (job,) = jobs(BUSY.replace("07:12:00", ""))
        record = imported(job, Hardware(cpu_w=6.0))
        joules, known = record.energy_j[Component.CPU], record.known[Component.CPU]

        assert known.basis is Basis.ASSUMED
        assert joules * (1 - known.below) <= 6 * 0.75 * 8 * 3600 * 0.123 * 1.001
        assert joules * (1 + known.above) >= 6 * 8 * 3600

    def test_counted(self):
        """What Slurm counted is taken as measured: of nodes that may be shared, unless the job had all of them."""
        (job,) = jobs(BUSY.replace("07:12:00|0", "07:12:00|900000"))
        shared, alone = imported(job), imported(job, Hardware(node_cpus=8, covers=Boundary.NODE))

        assert shared.energy_j == alone.energy_j == {Component.OTHER: 900000.0}
        assert (shared.known[Component.OTHER].below, alone.known[Component.OTHER].below) == (0.5, 0.1)
        assert shared.known[Component.OTHER].basis is Basis.MEASURED
        assert alone.boundary is Boundary.NODE

    @pytest.mark.parametrize("wrong", ["18446744073709551614", "0", "", "999999999999"])
    def test_counter_that_cannot_be(self, wrong):
        """A counter that overflowed, was never there, or says more than a node draws is unknown, and the model stands in."""
        (job,) = jobs(BUSY.replace("07:12:00|0", f"07:12:00|{wrong}"))

        assert job.energy_j is None
        assert Component.CPU in imported(job).energy_j

    def test_gpus(self):
        """Watts of GPUs that nobody told are missing, which is not zero."""
        (job,) = jobs(GPUS)

        assert Component.GPU not in imported(job).energy_j
        assert imported(job).missing[0][0] == "gpu"
        assert imported(job, Hardware(gpu_w=300.0)).energy_j[Component.GPU] == 300 * 4 * 3600

    def test_once(self, tmp_path):
        """A job is one recording, whatever watts it is imported with; it says who, what project and how it ended."""
        (job,) = jobs(LATE)
        run_id = keep(tmp_path, imported(job))
        assert keep(tmp_path, imported(job, Hardware(cpu_w=9.0))) is None
        made = read_recording(run_folder(tmp_path, str(run_id)))

        assert (made.end.state, made.end.reason) == (EndState.FAILED, "Slurm says TIMEOUT")
        assert (made.metadata["person"], made.metadata["project"]) == ("bea", "vision")
        assert made.metadata["slurm_job"] == "2_7"
        assert made.params["used_memory_bytes"] == 4 * 2**30

    def test_killed_while_writing(self, tmp_path, monkeypatch):
        """Whoever is killed while a recording is written leaves none, and the next import makes it."""
        from joulewise.exchange import imported as module

        def killed(*_):
            raise KeyboardInterrupt

        (job,) = jobs(BUSY)
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                keep(tmp_path, imported(job))
        assert keep(tmp_path, imported(job)) is not None
        assert keep(tmp_path, imported(job)) is None


def test_waste():
    """Joules of what did not complete, and the share of CPUs and memory that was used, over the jobs that tell it."""
    found = waste((job, imported(job)) for job in jobs(BUSY, LATE, GPUS))

    assert found.jobs == {"COMPLETED": 1, "TIMEOUT": 1, "CANCELLED": 1}
    assert found.total_j.value == pytest.approx(sum(f.value for f in found.energy_j.values()))
    assert found.cpu_s.held == 8 * 3600 + 4 * 7200 + 16 * 3600
    assert found.cpu_s.used == 25920 + 2400 + 16 * 3600  # no job uses more than it was given
    assert found.memory_byte_s.share == pytest.approx((8 * 3600 + 4 * 7200) / (32 * 3600 + 16 * 7200))
    assert (found.memory_byte_s.jobs, found.unknown_gpus) == (2, 1)
    unknown = waste([(replace(j, cpu_s=None), imported(j)) for j in jobs(BUSY)])
    assert unknown.cpu_s.share is None


class TestVerb:
    def test_file(self, joulewise, home):
        """A file becomes recordings once; what it wasted is said; a dry run makes none."""
        (home / "jobs.txt").write_text(f"{HEAD}\n{BUSY}{LATE}{GPUS}{WAITS}")
        dry = joulewise("import", "sacct", "jobs.txt", "--dry-run")
        first = joulewise("import", "sacct", "jobs.txt")
        again = json.loads(joulewise("import", "sacct", "jobs.txt", "--gpu-watts", "300", "--json").stdout)

        assert "nothing was recorded" in dry.stdout
        assert first.stdout.startswith("3 recordings made of 3 jobs; 2 wait, run or never ran")
        assert "GPUs: 1 jobs had some" in first.stdout
        assert (again["new"], again["jobs"], again["by_state"]["TIMEOUT"]["jobs"]) == ([], 3, 1)
        listed = json.loads(joulewise("runs", "--json").stdout)
        assert listed["count"] == 3
        assert {r["job"] for r in listed["runs"]} == {"slurm:1@tide", "slurm:2_7@tide", "slurm:3@tide"}

    def test_recorded_while_it_ran(self, joulewise, home, recorded, monkeypatch):
        """A job that `joulewise run` recorded is not recorded again."""
        monkeypatch.setenv("SLURM_JOB_ID", "1")
        monkeypatch.setenv("SLURM_CLUSTER_NAME", "tide")
        recorded("inside")
        (home / "jobs.txt").write_text(f"{HEAD}\n{BUSY}{LATE}")

        assert "; 1 were recorded while they ran" in joulewise("import", "sacct", "jobs.txt").stdout
        assert json.loads(joulewise("runs", "--json").stdout)["count"] == 2

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("nothing.txt",), "does not exist"),
            (("jobs.txt", "--since", "2025-01-01"), "FILE says which jobs it holds"),
            (("jobs.txt", "--cpu", "Pentium Pro"), "unknown processor"),
            (("jobs.txt", "--cpu-watts", "lots"), "cannot read 'lots'"),
            (("jobs.txt", "--cpu-watts", "6", "--cpu", "x"), "give one of them"),
        ],
    )
    def test_wrong_use(self, joulewise, home, options, said):
        """Wrong use is one line and exit code 2."""
        (home / "jobs.txt").write_text(HEAD)
        done = joulewise("import", "sacct", *options)

        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr

    def test_no_sacct(self, joulewise, home):
        """Where there is no sacct the line to run elsewhere is said."""
        done = joulewise("import", "sacct", env={"PATH": "/nowhere", "JOULEWISE_HOME": str(home)})

        assert done.returncode == 2
        assert "sacct --parsable2 --format=JobID,JobName" in done.stderr


@pytest.mark.service
@pytest.mark.timeout(300)
def test_real_accounting(joulewise, home):
    """A real slurmdbd's jobs are asked for and imported: CPU time, memory, states; asked again, nothing is new."""
    if why := slurm_missing(accounting=True):
        missing(why)
    with private_slurm(1, cpus=2, accounting=True) as cluster:
        program = "import time; x = bytearray(150_000_000); t = time.time()\nwhile time.time() - t < 3: pass"
        (cluster.folder / "busy.sh").write_text(f"#!/bin/sh\n{sys.executable} -c '{program}'\n")
        cluster.command(
            "sbatch", "-n2", "-J", "a|b", "-o", "/dev/null", "--wait", f"{cluster.folder}/busy.sh"
        )
        with pytest.raises(subprocess.CalledProcessError):
            cluster.command("sbatch", "-J", "bad", "-o", "/dev/null", "--wait", "--wrap", "sleep 2; exit 3")
        environment = {**os.environ, **cluster.environment}
        told = {}
        for _ in range(20):  # slurmctld tells the database a moment later
            told = json.loads(joulewise("import", "sacct", "--since", "now-1hours", "--all-users", "--json", env=environment).stdout)  # fmt: skip
            if told["jobs"] == 2:
                break
        again = json.loads(joulewise("import", "sacct", "--since", "now-1hours", "--json", env=environment).stdout)  # fmt: skip

    listed = json.loads(joulewise("runs", "--json").stdout)["runs"]
    assert {(r["name"], r["state"]) for r in listed} == {("a|b", "finished"), ("bad", "failed")}
    assert 0 < told["cpu_s"]["share"] < 0.7  # one of two CPUs was used, and slept through the other job
    assert told["by_state"]["FAILED"]["jobs"] == 1
    busy = next(r for r in listed if r["name"] == "a|b")
    assert busy["params"]["used_memory_bytes"] > 150e6
    assert again["new"] == []
