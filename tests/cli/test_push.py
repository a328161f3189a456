"""`joulewise push`: several machines, one ledger; an outage costs the work nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from joulewise.ledger.bodies import contents
from joulewise.ledger.index import list_runs
from joulewise.ledger.store import open_store

AWAY = "postgresql://nobody@127.0.0.1:1/joulewise"
PROGRAM = "import time; t = time.time()\nwhile time.time() - t < 0.5: sum(range(1000))"


@pytest.fixture
def machine(tmp_path, postgres_url):
    """Return a function that runs joulewise on a machine of its own: a host name, a home."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-u", "true"], capture_output=True).returncode:
        pytest.skip("a host name of its own needs root and unshare")

    def run(host: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        home = tmp_path / host
        home.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "JOULEWISE_HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "COLUMNS": "160",
        }
        environment |= {"JOULEWISE_LEDGER": postgres_url, "JOULEWISE_PUSH": "wait", **variables}
        command = ["unshare", "-u", "sh", "-c", f'hostname {host}; exec "$@"', "sh"]
        return subprocess.run(
            [*command, sys.executable, "-m", "joulewise", *arguments],
            capture_output=True,
            text=True,
            cwd=home,
            env=environment,
            timeout=100,
        )

    return run


def record(machine, host: str, *options: str, **variables: str) -> None:
    done = machine(host, "run", "--quiet", *options, "--", sys.executable, "-c", PROGRAM, **variables)
    assert done.returncode == 0, done.stderr


@pytest.mark.service
class TestSeveralMachines:
    def test_recorded_here_read_there(self, machine, postgres_url, tmp_path):
        """A run is in the team's ledger when it has ended, and another machine shows, compares and reports it."""
        record(machine, "n1", "--name", "digits")
        record(machine, "n2", "--name", "digits")
        listed = json.loads(machine("n3", "runs", "--json").stdout)["runs"]
        assert sorted(run["host"] for run in listed) == ["n1", "n2"]

        shown = machine("n3", "show", listed[0]["run_id"])
        page = tmp_path / "page.html"
        report = machine("n3", "report", listed[1]["run_id"], "--html", str(page))
        compared = machine("n3", "compare", *(run["run_id"] for run in listed))

        assert (shown.returncode, report.returncode, compared.returncode) == (0, 0, 0), shown.stderr
        assert "digits" in shown.stdout
        assert listed[1]["run_id"] in page.read_text()
        store = open_store(postgres_url)
        for run in list_runs(store):
            folder = Path(run.folder.partition(":")[2])
            assert contents(store, run.run_id) == {f.name: f.read_bytes() for f in folder.iterdir()}
        store.close()

    def test_one_job_of_two_nodes(self, machine):
        """Recordings of one Slurm job on two nodes, two on one of them, are one job; each device counts once."""
        job = {"SLURM_JOB_ID": "4711", "SLURM_CLUSTER_NAME": "tide"}
        record(machine, "n1", "--name", "rank0", **job)
        record(machine, "n2", "--name", "rank1", **job)
        record(machine, "n2", "--name", "alone")

        told = json.loads(machine("n3", "runs", "--jobs", "--json").stdout)["jobs"]
        shown = machine("n3", "runs", "--jobs", "tide")

        assert [(j["job"], j["hosts"], len(j["runs"])) for j in told] == [
            ("slurm:4711@tide", ["n1", "n2"], 2)
        ]
        assert told[0]["machine_j"]["value"] >= told[0]["work_j"]["value"] > 0
        assert "slurm:4711@tide" in shown.stdout
        assert "no recording is part of a job" in machine("n3", "runs", "--jobs", "nothing").stdout

    def test_server_away(self, machine, tmp_path):
        """Where the server is away a run ends as ever; its recording waits, and is sent once the server is back."""
        began = time.monotonic()
        record(machine, "n1", "--name", "digits", JOULEWISE_LEDGER=AWAY, JOULEWISE_PUSH="after")
        assert time.monotonic() - began < 60
        away = machine("n1", "push", JOULEWISE_LEDGER=AWAY)
        sent = [json.loads(machine("n1", "push", "--json").stdout) for _ in range(2)]

        assert away.returncode == 1
        assert away.stderr.startswith(
            "joulewise: cannot use the ledger postgresql://nobody@127.0.0.1:1/joulewise"
        )
        assert [(s["recordings"], s["waiting"]) for s in sent] == [(1, 0), (0, 0)]

    def test_follow_is_killed_and_ended(self, machine, postgres_url, tmp_path):
        """`--follow` sends what grows; after kill -9 another goes on; SIGTERM ends it at once."""
        from joulewise.testing.ledger_contract import write_recording

        home = tmp_path / "home"
        environment = {**os.environ, "JOULEWISE_HOME": str(home), "JOULEWISE_LEDGER": postgres_url}
        command = [sys.executable, "-m", "joulewise", "push", "--follow", "--every", "1s"]
        store = open_store(postgres_url)
        for number, how in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
            sender = subprocess.Popen(command, env=environment)
            folder = write_recording(home / "runs", f"r{number}")
            end_s = time.monotonic() + 60
            while contents(store, folder.name) == {} and time.monotonic() < end_s:
                time.sleep(0.1)
            sender.send_signal(how)
            assert sender.wait(20) == (0 if how is signal.SIGTERM else -signal.SIGKILL)
            assert contents(store, folder.name) == {f.name: f.read_bytes() for f in folder.iterdir()}
        assert len(list_runs(store)) == 2
        store.close()


class TestWrongUse:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "a file of this machine; a team names a server"),
            (("--every", "0.1s"), "must be at least 1s"),
            (("--every", "soon"), "soon"),
            (("--follow", "--json"), "--json and --within are for one push"),
        ],
    )
    def test_one_line(self, joulewise, arguments, said):
        """Wrong use is one line and exit code 2."""
        done = joulewise("push", *arguments)

        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1

    def test_setting(self, joulewise, home):
        """A setting `push` that does not exist is named."""
        done = joulewise("config", env={**os.environ, "JOULEWISE_PUSH": "sometimes"})

        assert done.returncode == 2
        assert "must be after, wait or off" in done.stderr
