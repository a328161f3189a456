"""`joulewise compare`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def test_side_by_side(joulewise, recorded):
    """Two recordings stand side by side, and the difference has an interval and a share of its own."""
    recorded("short", "sum(range(40_000_000))")
    recorded("long", "sum(range(150_000_000))")
    done = joulewise("compare", "short", "long", "--zone", "DE")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["short", "long"]
    assert "long against short" in done.stdout
    assert "  energy  +" in done.stdout
    assert " to " in done.stdout


def test_json(joulewise, recorded):
    """JSON holds each account and each difference; common error cancels on one machine."""
    recorded("short", "sum(range(40_000_000))")
    recorded("long", "sum(range(150_000_000))")
    fields = json.loads(joulewise("compare", "short", "long", "--json").stdout)

    (change,) = fields["differences"]
    assert change["common_error_cancels"] is True
    both = [run["footprint"]["total_j"] for run in fields["runs"]]
    apart = both[1]["high"] - both[0]["low"] - (both[1]["low"] - both[0]["high"])
    assert change["energy_j"]["high"] - change["energy_j"]["low"] < apart


def test_quality_beside_joules(joulewise, recorded):
    """What the programs logged last stands beside the joules."""
    code = "import joulewise\nwith joulewise.track('t') as run:\n  run.log(epoch=1, accuracy={})\n  run.log(epoch=2, accuracy={})"
    recorded("one", code.format(0.5, 0.875))
    recorded("two", code.format(0.5, 0.75))
    text = joulewise("compare", "one", "two").stdout

    (line,) = [line for line in text.splitlines() if line.startswith("accuracy")]
    assert line.split() == ["accuracy", "0.875", "0.75"]


def test_needs_two(joulewise, recorded):
    """One recording cannot be compared: one line, exit code 2."""
    recorded("one")
    done = joulewise("compare", "one")

    assert done.returncode == 2
    assert (
        done.stderr
        == "joulewise: compare needs two recordings or more, but was given 1: joulewise compare A B\n"
    )


def test_together_counts_each_device_once(joulewise, home):
    """Two recorders at once on one machine: their works add up, the machine's devices are counted once."""
    command = [sys.executable, "-m", "joulewise", "run", "--quiet", "--name"]
    code = "import time; time.sleep(2.5)"
    both = [
        subprocess.Popen([*command, name, "--", sys.executable, "-c", code]) for name in ("rank-0", "rank-1")
    ]
    assert [running.wait(60) for running in both] == [0, 0]
    fields = json.loads(joulewise("compare", "rank-0", "rank-1", "--json").stdout)

    together = fields["together"]
    machines = [run["footprint"]["machine_j"]["value"] for run in fields["runs"]]
    works = [run["footprint"]["total_j"]["value"] for run in fields["runs"]]
    assert together["overlapping"]
    assert together["machine_j"]["value"] < 0.9 * sum(machines)
    assert together["footprint"]["total_j"]["value"] == pytest.approx(sum(works))
    text = joulewise("compare", "rank-0", "rank-1").stdout
    assert "each counted once (seen by more than one recording: " in text


def test_one_recording_is_not_added_to_itself(joulewise, recorded):
    """A recording named twice is compared with itself, and nothing is added up."""
    recorded("one")

    assert json.loads(joulewise("compare", "one", "one", "--json").stdout)["together"] is None
