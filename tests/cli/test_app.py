"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

from joulewise.cli.app import VERBS, app

HEAVY = ("sqlalchemy", "alembic", "jinja2", "tabulate", "numpy")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    """Each verb of the table loads, and its help says what it does."""
    context = app.make_context("joulewise", [], resilient_parsing=True)
    command = app.get_command(context, verb)

    assert command is not None
    assert command.help
    assert "joulewise" not in command.help.split(".")[0]


def test_overview_loads_no_verb():
    """`joulewise --help` names every verb and imports none of them, nor anything heavy."""
    code = (
        "import sys; from joulewise.cli.app import app\n"
        "app.main(['--help'])\n"
        f"print([m for m in sys.modules if m in {HEAVY!r} or m in {[m for m, _ in VERBS.values()]!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.rstrip().endswith("[]")
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


def test_unknown_verb(joulewise):
    """A verb that is not known suggests the nearest, in one line, with exit code 2."""
    done = joulewise("shwo")

    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "joulewise: unknown verb 'shwo'; did you mean show or push? ('joulewise --help' lists them)\n"
    )


def test_wrong_option(joulewise):
    """An option that is not known is one line, with exit code 2."""
    done = joulewise("runs", "--sortt", "energy")

    assert done.returncode == 2
    assert done.stderr.startswith("joulewise: No such option")
    assert len(done.stderr.splitlines()) == 1


def test_nothing_said(joulewise):
    """Without a verb the overview is shown, with exit code 2."""
    done = joulewise()

    assert done.returncode == 2
    assert "Verbs" in done.stdout


def test_version(joulewise):
    """The version is told."""
    done = joulewise("--version")

    assert (done.returncode, done.stdout) == (0, "joulewise 0.1.0\n")


def test_reader_that_goes_away(home, recorded):
    """`joulewise runs | head` ends quietly."""
    recorded("one")
    done = subprocess.run(
        f"{sys.executable} -m joulewise runs | true", shell=True, capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
