"""`joulewise totals`, and `joulewise diagnose --project P --month M`."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from joulewise.testing.ledger_contract import write_recording
from joulewise.vocabulary.moments import month_before

NOW = datetime.now(UTC)
THIS = f"{NOW:%Y-%m}"


@pytest.fixture
def team(home):
    """Write four months of a team's work: 2 h, 3 h, 4 h and this month an hour, for two projects."""
    for back, hours in ((3, 4), (2, 3), (1, 2), (0, 1)):
        at = datetime.fromisoformat(f"{month_before(THIS, back)}-01T00:00:00+00:00")
        for person, project in (("ada", "vision"), ("=grace", "speech")):
            write_recording(
                home / "runs",
                "train",
                at=at,
                length_s=3600.0 * hours,
                meta={"person": person, "project": project, "zone": "DE"},
                values={"samples": 1000 * hours},
            )
    return home


def targets(home, text: str) -> None:
    folder = home / "config" / "joulewise"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "targets.toml").write_text(text)


def test_by_project(joulewise, team):
    """Rows are projects with a sum, energy with its interval and basis, grams with their meaning."""
    done = joulewise("totals")
    lines = done.stdout.splitlines()

    assert lines[0] == f"{THIS}, UTC"
    assert "CO2e (average, lifecycle)" in lines[2]
    assert {line.split()[0] for line in lines[3:6]} == {"vision", "speech", "all"}


def test_json_and_csv_agree(joulewise, team):
    """JSON and CSV tell the same sums, by month and key."""
    told = json.loads(joulewise("totals", "--by", "person", "--months", "4", "--json").stdout)
    rows = list(
        csv.DictReader(
            io.StringIO(joulewise("totals", "--by", "person", "--months", "4", "--csv", "-").stdout)
        )
    )

    assert told["schema_version"] == 1
    assert len(told["totals"]) == 2
    assert len(rows) == len(told["months"]) == 8
    assert {r["person"] for r in rows} == {"ada", "'=grace"}  # no formula for a spreadsheet
    assert sum(float(r["energy_j"]) for r in rows) == pytest.approx(
        sum(t["energy_j"]["value"] for t in told["totals"]), rel=1e-4
    )


def test_targets_and_budgets(joulewise, team):
    """A target says where it lands, a budget what is left of it; both only for whom they are asked."""
    targets(
        team,
        '[[target]]\nproject = "vision"\nwhat = "joules/samples"\nvalue = "1MJ"\nby = "2099-01"\n'
        f'[[target]]\nwhat = "grams"\nbaseline = "{month_before(THIS, 3)}"\nreduce = "90%"\nby = "{THIS}"\n'
        '[[budget]]\nproject = "vision"\nmonthly = "100kJ"\n',
    )
    text = joulewise("totals").stdout

    assert "target of vision: at most 1 MJ per samples in 2099-01: on course; lands at" in text.replace(
        "1.00", "1"
    )
    assert "target of everybody: at most" in text
    assert "by the line through 3 months" in text
    assert "budget of vision:" in text
    told = json.loads(joulewise("totals", "--project", "vision", "--json").stdout)
    assert [t["course"] for t in told["targets"]] == ["on course"]
    assert told["budgets"][0]["used"]["value"] > 0


def test_budgets_of_devices_and_zones(joulewise, team):
    """A budget may be a zone's or a device's: it counts what ran there."""
    targets(
        team,
        '[[budget]]\nzone = "DE"\nmonthly = "1MJ"\n[[budget]]\ndevice = "none of ours"\nmonthly = "1kg"\n',
    )
    told = json.loads(joulewise("totals", "--json").stdout)

    assert [b["zone"] for b in told["budgets"]] == ["DE", None]
    assert told["budgets"][0]["used"]["value"] == pytest.approx(
        sum(t["energy_j"]["value"] for t in told["totals"])
    )
    assert told["budgets"][1]["used"] is None
    assert "budget of none of ours: 1.00 kg a month; what was used is not known" in joulewise("totals").stdout


def test_pots(joulewise, team):
    """A shared budget that runs of the month drew from says what is left of it, and who drew."""
    for name in ("one", "two"):
        ran = joulewise("run", "--quiet", "--name", name, "--pot", "night", "--budget", "1h", "--", "true")
        assert ran.returncode == 0
    told = json.loads(joulewise("totals", "--by", "person", "--json").stdout)

    (pot,) = told["pots"]
    assert pot["limits"]["time_s"] == 3600
    assert 0 < pot["left"]["time_s"] < 3600
    assert [d["runs"] for d in pot["drawn"]] == [2]
    assert pot["drawn"][0]["incomplete"] == ["cost"]
    assert "pot night: " in joulewise("totals").stdout
    assert json.loads(joulewise("totals", "--month", "2020-01", "--json").stdout)["pots"] == []


def test_where_it_went(joulewise, team):
    """A month's split adds up to 100 %; what was not seen from inside is said."""
    done = joulewise("diagnose", "--project", "vision", "--month", "this")

    assert done.returncode == 0
    assert f"vision · {THIS} · 1 recording" in done.stdout
    assert "not seen from inside" in done.stdout
    told = json.loads(joulewise("diagnose", "--month", "this", "--json").stdout)
    shares = [part["share"] for part in told["shares"].values()]
    assert sum(shares) + told["unseen_share"] + told["waiting_share"] == pytest.approx(1)


def test_a_waste_that_was_found(joulewise, recorded):
    """A run's finding is in its waste, its joules in the month's, and the run is named."""
    recorded("plain", "import time\nt = time.process_time()\nwhile time.process_time() - t < 1: pass")
    told = json.loads(joulewise("diagnose", "--month", "this", "--json").stdout)

    assert told["runs"] == 1
    assert told["shares"]["none"]["share"] + told["unseen_share"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("totals", "--month", "2026-13"), "--month is '2026-13'"),
        (("totals", "--by", "planet"), "planet"),
        (("totals", "--csv", "-", "--json"), "one of --csv and --json"),
        (("diagnose", "latest", "--project", "vision"), "give one of RUN"),
        (("diagnose", "--project", "nope"), "no recording of the project 'nope'"),
        (("diagnose", "--month", "May"), "--month is 'May'"),
    ],
)
def test_wrong_use(joulewise, team, arguments, said):
    """Wrong use is one line with exit code 2."""
    done = joulewise(*arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wrong_targets(joulewise, team):
    """A wrong file of targets is one line that names it."""
    targets(team, "[[target]]\n")
    done = joulewise("totals")

    assert done.returncode == 2
    assert "targets.toml" in done.stderr


def test_the_example(joulewise, home, monkeypatch):
    """The made-up team of the manual can be made again, and looked at."""
    import subprocess
    import sys
    from pathlib import Path

    example = Path(__file__).parents[2] / "examples" / "team.py"
    subprocess.run([sys.executable, str(example)], check=True, capture_output=True, timeout=60)
    monkeypatch.setenv("JOULEWISE_TARGETS", str(home / "targets.toml"))
    text = joulewise("totals", "--month", "last").stdout

    assert {"vision", "speech", "ranking"} <= {line.split()[0] for line in text.splitlines() if line}
    assert "target of speech: at most 4.00 J per samples" in text


def test_nothing_yet(joulewise, home):
    """An empty month says so."""
    assert joulewise("totals").stdout == f"no recording ran in {THIS}\n"


def test_who_records(joulewise, recorded, home):
    """A recording tells its user and the repository in which it ran; settings go before."""
    (home / ".git").mkdir()
    recorded("a", "pass")
    told = json.loads(joulewise("totals", "--by", "project", "--json").stdout)

    assert [t["key"] for t in told["totals"]] == [home.name]
    (home / "pyproject.toml").write_text('[tool.joulewise]\nproject = "vision"\nperson = "ada"\n')
    recorded("b", "pass")
    told = json.loads(joulewise("totals", "--by", "person", "--project", "vision", "--json").stdout)
    assert [t["key"] for t in told["totals"]] == ["ada"]
