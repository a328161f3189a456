"""`joulewise export` and `joulewise import`."""

from __future__ import annotations

import json

import pytest

from joulewise.cli.export import FORMS


@pytest.mark.parametrize("form", [form for form in FORMS if form != "mlflow"])  # which is no file
def test_every_form(joulewise, recorded, form):
    """Every form of a real recording is printed, and read where something can read it."""
    recorded("one", "sum(range(30_000_000))")
    done = joulewise("export", "one", "--as", form, "--zone", "DE")
    assert (done.returncode, done.stderr) == (0, "")
    assert "one" in done.stdout or form in ("sci", "bibtex", "model-card")
    if form in ("sci", "boamps"):
        json.loads(done.stdout)


def test_there_and_back(joulewise, recorded, home):
    """CodeCarbon's form is written to a file and imported once."""
    recorded("one", "sum(range(30_000_000))")
    assert joulewise("export", "one", "--as", "codecarbon", "-o", "emissions.csv").returncode == 0
    first = joulewise("import", "emissions.csv", "--from", "codecarbon", "--json")
    assert len(json.loads(first.stdout)["new"]) == 1
    again = joulewise("import", "emissions.csv", "--from", "codecarbon")
    assert again.stdout == "0 recordings made of emissions.csv; 1 were there already\n"
    assert json.loads(joulewise("runs", "--json").stdout)["count"] == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("export", "--as", "csv"), "export needs a RUN"),
        (("export", "nope", "--as", "csv"), "unknown recording"),
        (("export", "one", "--as", "xml"), "'xml' is not one of"),
        (("export", "one", "--as", "sci", "--unit", "tokens"), "counted no 'tokens'"),
        (("export", "one", "--as", "csv", "-o", "no/such/file"), "cannot be written"),
        (("export", "one", "--as", "mlflow"), "mlflow is no file: give the server"),
        (("export", "one", "--as", "csv", "--to", "http://x"), "--to sends otlp or mlflow"),
        (("import", "nope.csv", "--from", "codecarbon"), "does not exist"),
    ],
)
def test_bad_input(joulewise, recorded, args, said):
    """Wrong use is one line and exit code 2."""
    if args[0] == "export":
        recorded("one", "sum(range(30_000_000))")
    done = joulewise(*args)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_half_a_file_is_none(joulewise, home):
    """A file with one bad row makes no recording at all."""
    (home / "e.csv").write_text("timestamp,duration,energy_consumed\n2026-01-01,1,1\n2026-01-01,1,-1\n")
    done = joulewise("import", "e.csv", "--from", "codecarbon")
    assert done.returncode == 2
    assert "row 3 of the file" in done.stderr
    assert json.loads(joulewise("runs", "--json").stdout)["count"] == 0
