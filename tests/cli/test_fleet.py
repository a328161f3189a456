"""Fleet mode on a real Slurm: every task is recorded with no prefix, as one job; broken scripts cost no task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from joulewise.launching.slurm_fleet import install, prolog
from joulewise.measuring.agent import BOOT
from joulewise.testing.slurm import PrivateSlurm, private_slurm, slurm_missing
from tests.services import missing

PROGRAM = "import time, sys\nt = time.time()\nwhile time.time() - t < 4: sum(range(10000))\nsys.exit({code})"


@pytest.mark.service
@pytest.mark.timeout(300)
class TestOnSlurm:
    @pytest.fixture
    def cluster(self, tmp_path_factory):
        if why := slurm_missing():
            missing(why)
        scripts = tmp_path_factory.mktemp("fleet")
        for parent in (scripts, *scripts.parents[:3]):
            os.chmod(parent, 0o755)
        prolog_path, epilog_path = install(scripts, sys.executable, BOOT)
        with private_slurm(
            2, cpus=2, settings=f"TaskProlog={prolog_path}\nTaskEpilog={epilog_path}\n"
        ) as cluster:
            yield cluster

    def srun(self, cluster: PrivateSlurm, home: Path, *argv: str, **variables: str):
        environment = {**os.environ, **cluster.environment, "JOULEWISE_HOME": str(home), **variables}
        return subprocess.run(["srun", *argv], env=environment, capture_output=True, text=True, timeout=200)

    def test_nobody_types_a_prefix(self, cluster, home, joulewise):
        """Two tasks on two nodes are two recordings of one job, with their end, nothing of it left behind; a code passes."""
        done = self.srun(cluster, home, "-N2", "-n2", "-J", "my job; rm -rf", sys.executable, "-c", PROGRAM.format(code=3))  # fmt: skip
        assert done.returncode == 3, done.stderr
        end_s = time.monotonic() + 60  # on a busy machine the recorders outlast the epilog's patience
        while True:
            runs = json.loads(joulewise("runs", "--json").stdout)["runs"]
            if [r["state"] for r in runs] == ["finished"] * 2 or time.monotonic() > end_s:
                break
        jobs = json.loads(joulewise("runs", "--jobs", "--json").stdout)["jobs"]

        assert [(r["name"], r["state"], r["role"]) for r in runs] == [("my-job-rm-rf", "finished", "run")] * 2  # fmt: skip
        assert all(r["energy_j"]["value"] > 0 for r in runs)
        assert all(r["command"].startswith(sys.executable) for r in runs)
        assert [(len(j["runs"]), j["job"].partition(":")[0]) for j in jobs] == [(2, "slurm")]
        assert list((home / "runs" / ".fleet").iterdir()) == []
        for run in runs:
            assert not list(Path(run["folder"]).glob("agent-*"))
            assert json.loads(joulewise("show", run["run_id"], "--json").stdout)["run_id"] == run["run_id"]

    def test_inside_and_off(self, cluster, home, joulewise):
        """A `joulewise run` in a task is part of it and not counted twice; a job that opts out is left alone."""
        nested = [sys.executable, "-m", "joulewise", "run", "--quiet", "--name", "inner", "--"]
        assert self.srun(cluster, home, "-n1", *nested, sys.executable, "-c", PROGRAM.format(code=0)).returncode == 0  # fmt: skip
        end_s = time.monotonic() + 60  # on a busy machine the recorder outlasts the epilog's patience
        while True:
            (job,) = json.loads(joulewise("runs", "--jobs", "--json").stdout)["jobs"]
            if len(job["runs"]) == 2 or time.monotonic() > end_s:
                break
        assert len(job["runs"]) == 2
        assert len(job["inside"]) == 1
        assert self.srun(cluster, home, "-n1", "hostname", JOULEWISE_FLEET="off").returncode == 0

        assert json.loads(joulewise("runs", "--json").stdout)["count"] == 2

    def test_no_place(self, cluster, home):
        """Where nothing can be written a task runs as ever, and says nothing of it."""
        done = self.srun(cluster, home, "-n1", "sh", "-c", "echo here", JOULEWISE_HOME="/proc/none")

        assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")


class TestScripts:
    def run(self, tmp_path: Path, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "prolog.sh"
        script.write_text(text)
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", **variables}  # fmt: skip
        return subprocess.run(["sh", script], env=environment, capture_output=True, text=True, timeout=30)

    def test_no_interpreter(self, tmp_path):
        """A node that does not see the interpreter leaves the task alone, and no empty recording."""
        done = self.run(tmp_path, prolog("/nowhere/python 3", BOOT))

        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not list((tmp_path / ".local/share/joulewise/runs").glob("*/*"))

    def test_environment(self, tmp_path):
        """What is exported is the recording's folder and the agent; a name of a job reaches no shell."""
        done = self.run(tmp_path, prolog("/bin/true", "/boot"), SLURM_JOB_NAME="$(touch x) `id`; 'a\"", PYTHONPATH="/mine")  # fmt: skip
        lines = done.stdout.splitlines()

        assert done.returncode == 0
        assert lines[1] == "export PYTHONPATH=/boot:/mine"
        assert lines[0].startswith(f"export JOULEWISE_RECORDING={tmp_path}/.local/share/joulewise/runs/")
        assert Path(lines[0].partition("=")[2]).is_dir()
        assert not (tmp_path / "x").exists()
        assert self.run(tmp_path, prolog("/bin/true", ""), JOULEWISE_FLEET="off").stdout == ""


class TestVerb:
    def test_install(self, joulewise, home):
        """Both scripts are written, runnable, and the lines for slurm.conf are said."""
        done = joulewise("fleet", "slurm", "--install", "etc")

        assert f"TaskProlog={home}/etc/joulewise-task-prolog.sh" in done.stdout
        for path in (home / "etc").iterdir():
            assert path.stat().st_mode & 0o777 == 0o755
            assert subprocess.run(["sh", "-n", path]).returncode == 0
        assert "TaskEpilog of Slurm" in joulewise("fleet", "slurm").stdout

    def test_wrong_use(self, joulewise):
        """A place that cannot be written, and a task that is none, are one line each."""
        place = joulewise("fleet", "slurm", "--install", "/proc/none")
        run = joulewise("fleet", "task", str(os.getpid()), "--run", "../../x")
        gone = joulewise("fleet", "task", "999999999", "--run", "20260301T120000-x-0123456789")

        assert [d.returncode for d in (place, run, gone)] == [2, 2, 2]
        assert [d.stderr.count("\n") for d in (place, run, gone)] == [1, 1, 1]
