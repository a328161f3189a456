"""`joulewise run` from outside: the card, the files, budgets and pots."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

BURN = "import time\nt = time.monotonic()\nwhile time.monotonic() - t < 30: sum(range(10000))"
PATIENT = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *a: print('saved', flush=True) or exit(7))\ntime.sleep(60)"


def test_card_on_standard_error(joulewise):
    """The program's output is its own; the card is on standard error."""
    done = joulewise("run", "--zone", "DE", "--", sys.executable, "-c", "print('hello')")

    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "  energy " in done.stderr
    assert "  more     joulewise show " in done.stderr


def test_files(joulewise, home):
    """`--json` and `--report` write the account and the page; `--quiet` says nothing."""
    done = joulewise("run", "--quiet", "--json", "r.json", "--report", "r.html", "--name", "x", "--", "true")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((home / "r.json").read_text())["name"] == "x"
    assert "</html>" in (home / "r.html").read_text()


def test_help(joulewise):
    """Help comes from the same table as the options."""
    done = joulewise("run", "--help")

    assert done.returncode == 0
    assert "--budget LIMITS" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "2XJ", "--", "true"), "2XJ"),
        (("--budget", "200g", "--", "true"), "give --zone DE (your zone), or --assume-high"),
        (("--budget", "1EUR", "--", "true"), "set a tariff"),
        (("--zone", "Atlantis", "--", "true"), "unknown zone 'Atlantis'"),
        (("--report", "no/such/r.html", "--", "true"), "there is no folder no/such"),
        ((), "there is no program to run"),
    ],
)
def test_wrong_use_starts_nothing(joulewise, home, arguments, said):
    """Wrong use is one line with exit code 2, and neither program nor recording is made."""
    done = joulewise("run", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(home.glob("runs/*/*"))


@pytest.mark.parametrize(("program", "code"), [("/no/such/program", 127), ("/etc/passwd", 126)])
def test_missing_program(joulewise, home, program, code):
    """A program that cannot be started gives a shell's exit code, and leaves no recording."""
    done = joulewise("run", "--", program)

    assert done.returncode == code
    assert program in done.stderr
    assert not list(home.glob("runs/*/*"))


def test_budget_in_time_stops(joulewise):
    """At the hard limit the program is asked to end, may save, and the exit code is 3."""
    begun = time.monotonic()
    done = joulewise("run", "--budget", "1s", "--", sys.executable, "-c", PATIENT)

    assert done.returncode == 3
    assert done.stdout == "saved\n"
    assert "the budget is spent" in done.stderr
    assert time.monotonic() - begun < 30
    fields = json.loads(joulewise("show", "--json").stdout)
    assert (fields["state"], fields["exit_code"]) == ("stopped", 7)
    assert "1.0 s" in fields["reason"]


def test_budget_in_joules_stops(joulewise):
    """A budget in joules holds, and what was used beyond it is told and small."""
    done = joulewise("run", "--budget", "5J", "--grace", "1", "--", sys.executable, "-c", BURN)

    assert done.returncode == 3
    fields = json.loads(joulewise("show", "--json").stdout)
    assert fields["footprint"]["total_j"]["value"] < 20


TRIALS = """
import joulewise, time
with joulewise.track("t") as run:
    for trial in range(9):
        run.log(trial=trial)
    time.sleep(2.5)
"""


def test_warns_once(joulewise):
    """At four fifths of a limit there is one warning, kept in the recording; the program goes on to its end."""
    done = joulewise("run", "--budget", "10trials", "--", sys.executable, "-c", TRIALS)

    assert done.returncode == 0
    assert done.stderr.count("is used (90 %)") + done.stderr.count("are used (90 %)") == 1, done.stderr
    notes = json.loads(joulewise("show", "--json").stdout)["notes"]
    assert len([n for n in notes if n["kind"] == "budget" and "(90 %)" in n["text"]]) == 1


def test_a_pot_is_shared(joulewise):
    """Two runs that share a pot have one budget: the second stops sooner for what the first has used."""
    first = joulewise(
        "run", "--budget", "3s", "--pot", "p", "--", sys.executable, "-c", "import time; time.sleep(2)"
    )
    begun = time.monotonic()
    second = joulewise(
        "run", "--pot", "p", "--grace", "0.2", "--", sys.executable, "-c", "import time; time.sleep(60)"
    )

    assert (first.returncode, second.returncode) == (0, 3)
    assert time.monotonic() - begun < 20
    other = joulewise("run", "--budget", "9s", "--pot", "p", "--", "true")
    assert other.returncode == 2
    assert "has the limits" in other.stderr


def test_a_short_run_pays_into_its_pot(joulewise):
    """A run that is over before a look at it has paid its joules into the pot all the same."""
    code = "sum(range(20_000_000))"
    joulewise("run", "--budget", "1h,1MJ", "--pot", "p", "--quiet", "--", sys.executable, "-c", code)
    (pot,) = json.loads(joulewise("ledger", "pots", "--json").stdout)["pots"]

    assert "energy_j" in json.dumps(pot)
    assert json.loads(joulewise("show", "--json").stdout)["footprint"]["total_j"]["value"] == pytest.approx(
        pot["spent"]["energy_j"]
    )


def test_assumed_high(joulewise):
    """Grams with no zone are counted at the high end of the world's range when asked to."""
    done = joulewise(
        "run", "--budget", "0.001mg", "--assume-high", "--grace", "0.2", "--", sys.executable, "-c", BURN
    )

    assert done.returncode == 3


def test_killed_recorder_keeps_what_it_saw(home):
    """After `kill -9` of joulewise all but the last tick is in the ledger, as a lost recording."""
    command = [sys.executable, "-m", "joulewise", "run", "--quiet", "--interval", "0.1", "--name", "k", "--"]
    code = "import time; print('up', flush=True); time.sleep(1.5)"
    with subprocess.Popen([*command, sys.executable, "-c", code], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(1.0)
        running.kill()
    done = subprocess.run(
        [sys.executable, "-m", "joulewise", "show", "k", "--json"], capture_output=True, text=True, check=True
    )
    fields = json.loads(done.stdout)
    assert fields["state"] == "lost"
    assert fields["duration_s"] > 0.5
