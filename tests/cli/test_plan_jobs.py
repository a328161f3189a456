"""Many jobs from a file: what rows say, what bad rows are told, and the plan under a capacity."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.cli.plan_jobs import Defaults, read_jobs
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint
from tests.cli.test_plan import history

__all__ = ["history"]

NOW = datetime(2026, 3, 19, tzinfo=UTC)
DEFAULTS = Defaults(NOW, NOW, ("DE",), Checkpoint(120.0, 1e3))
HEADS = "name,duration,deadline,release,power,interruptible\n"


@pytest.fixture
def file(tmp_path):
    """Write text to a file of jobs and return it."""

    def write(text):
        (tmp_path / "jobs.csv").write_text(text)
        return tmp_path / "jobs.csv"

    return write


def test_a_row_is_a_job(file):
    """Every column is read; what a row leaves empty comes from the options, whatever the order of the columns."""
    path = file(
        "power, name,units,duration,deadline,release,interruptible\n1.2kW,a,2,1h30m,+6h,+2h,yes\n,b,,2h,+6h,,\n"
    )
    first, second = read_jobs(path, DEFAULTS)

    assert (first.name, first.units, first.power_w) == ("a", 2, 1200)
    assert first.duration.expected_s == 5400
    assert first.release_utc == NOW + timedelta(hours=2)
    assert first.deadline_utc == NOW + timedelta(hours=8)
    assert first.interruptible == Checkpoint(120.0, 1e3)
    assert (second.units, second.power_w, second.release_utc) == (1, 300, NOW)
    assert second.interruptible is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADS + "a,1h,+3h,,,\nb,soon,+3h,,,\n", "line 3: cannot read 'soon' as a duration"),
        (HEADS + "a,1h,+3h,,3kg,\n", "line 2: power is '3kg'; give it in W, kW"),
        (HEADS + "a,1h,+3h,,,maybe\n", "line 2: interruptible is 'maybe', but must be yes or no"),
        (HEADS + "a,1h,,,,\n", "line 2: the job has no deadline; write it in its row, or give --deadline"),
        (HEADS + "a,,+3h,,,\n", "line 2: the job has no duration"),
        (HEADS + ",1h,+3h,,,\n", "line 2: the job has no name"),
        (HEADS + "a,1h,+3h,,,\na,1h,+3h,,,\n", "line 3: the name 'a' was taken"),
        (HEADS + "a,1h,+3h,,,,,\n", "line 2: there are more values than columns"),
        (HEADS + "a,1h,2026-03-18T00:00Z,,,\n", "line 2: the deadline of 'a'"),
        ("name,units\na,many\n", "line 2: the job has no duration"),
        ("name,duration,deadline,units\na,1h,+3h,many\n", "line 2: units is 'many'"),
        ("name,walltime\na,1h\n", "line 1 has the column 'walltime'; the columns are name, duration"),
        ("duration\n1h\n", "line 1 has no column 'name'"),
        (HEADS, "holds no job"),
        ("", "no column 'name'"),
    ],
)
def test_a_bad_row_is_named_by_its_line(file, text, said):
    """What is no job is refused with the line, the value and what to write."""
    with pytest.raises(UsageError) as caught:
        read_jobs(file(text), DEFAULTS)
    assert said in str(caught.value)


@pytest.fixture
def fleet(joulewise, history, home, monkeypatch):
    """Plan four jobs of a file for the eighteenth day, in UTC; one of them is too wide for two units."""
    pytest.importorskip("numpy", reason="the fleet needs the extra `schedule`")
    monkeypatch.setenv("TZ", "UTC")
    (home / "jobs.csv").write_text(
        "name,duration,power,interruptible,units\na,4h,1kW,no,1\nb,4h,1kW,no,1\nc,4h,1kW,yes,1\nwide,1h,1kW,no,3\n"
    )

    def plan(*more):
        return joulewise(
            "plan", "--jobs", "jobs.csv", "--start", "2026-03-19T00:00Z", "--deadline", "2026-03-20T00:00Z",
            "--zone", "DE", "--history", history, *more,
        )  # fmt: skip

    return plan


def test_a_fleet_is_planned_under_its_capacity(fleet):
    """Two of three jobs get the valley, the third the next best; the one that fits nowhere is told why, with exit code 1."""
    done = fleet("--capacity", "2", "--json")
    told = json.loads(done.stdout)["plan"]
    starts = sorted(p["stretches"][0]["start_utc"][11:16] for p in told["placements"])

    assert done.returncode == 1
    assert starts[:2] == ["08:00", "08:00"]
    assert len(starts) == 3
    assert told["predicted"]["carbon_g"] == pytest.approx(400 + 400 + 1200)
    assert told["unplaced"][0]["reason"] == "it takes 3 units, but DE have at most 2"
    text = fleet("--capacity", "2").stdout
    assert "3 of 4 jobs placed" in text
    assert "above the best of any plan" in text
    assert "it takes 3 units" in text


def test_without_a_capacity_each_job_is_planned_alone(fleet, joulewise, history):
    """Where nothing is scarce all jobs take the valley; the plan is kept and settled like any other."""
    done = fleet("--save", "fleet.json")

    assert (done.returncode, done.stderr) == (0, "")
    assert "4 of 4 jobs placed (each job alone)" in done.stdout
    settled = json.loads(joulewise("settle", "fleet.json", "--history", history, "--json").stdout)
    assert settled["settled"] == 4
    assert settled["share_of_oracle"] == pytest.approx(1.0)


def test_wrong_use(fleet, joulewise):
    """Options of a single job, a capacity without jobs and a file that is not there are one line and exit code 2."""
    for done, said in (
        (fleet("--workers", "4"), "--workers is for one job"),
        (fleet("--front"), "--front is for one job"),
        (fleet("--jobs", "none.csv"), "there is no file none.csv"),
        (joulewise("plan", "--capacity", "2", "--deadline", "+3h"), "--capacity is for many jobs"),
    ):
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
